"""Reads the main file and what it includes, checks each statement against the table of directives.

The order of the checks and the texts are nginx's: lexical errors, unknown name, wrong context,
``;`` or ``{``, number of arguments, duplicates, and then what the directive makes of its arguments.
"""

import glob
import os
from typing import Any

from . import auth_tls, proxy_tls, tls
from .directive import Directive, Merge, State
from .directives import BLOCK, TABLE
from .errors import ConfigError, failed
from .foreign import FOREIGN
from .lexer import Lexer
from .removed import REMOVED
from .statement import Context, Environment, Ignored, Scope, Statement, c_string

IGNORED_BLOCK = "block has no use in a mail proxy, ignored"

_DEEPEST_INCLUDE = 64
_MAGIC = "*?["


class Parser:
    """Fills ``main`` from files and from the text of ``-g``. All methods raise ConfigError."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.files: list[tuple[str, bytes]] = []
        self.main = Scope("main")
        self._depth = 0

    def parse_text(self, text: str) -> None:
        """Main-level simple directives of the command line."""
        self._parse(Lexer(text.encode("utf-8", "surrogateescape"), None), self.main, block=False)

    def parse_file(self, path: str) -> None:
        """The main configuration file."""
        try:
            data = self._read(path)
        except OSError as error:
            raise ConfigError(failed(f'open() "{path}"', error)) from None
        self._parse(Lexer(data, path), self.main, block=False)

    def _read(self, path: str) -> bytes:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except IsADirectoryError as error:
            raise ConfigError(failed(f'pread() "{path}"', error), level="crit") from None
        if all(path != known for known, _ in self.files):
            self.files.append((path, data))
        return data

    def _parse(self, lexer: Lexer, scope: Scope, *, block: bool) -> None:
        while True:
            end, words = lexer.statement()
            if end == "":
                if block:
                    lexer.fail('unexpected end of file, expecting "}"')
                return
            if end == "}":
                if not block:
                    lexer.fail('unexpected "}"')
                return
            if end == "{" and lexer.name is None:
                lexer.fail("block directives are not supported in -g option")
            self._handle(Statement(words, lexer, scope, self.environment), opened=end == "{")

    def _handle(self, statement: Statement, *, opened: bool) -> None:
        name, scope = statement.name, statement.scope
        directive = TABLE.get(name)
        if directive is None and name not in FOREIGN:
            raise statement.error(f'unknown directive "{c_string(name)}"{REMOVED.get(name, "")}')
        if directive is None or scope.context not in directive.contexts:
            raise statement.directive_error("is not allowed here")
        if opened and not directive.arguments.block:
            raise statement.error(f'directive "{name}" is not terminated by ";"')
        if directive.arguments.block and not opened:
            raise statement.error(f'directive "{name}" has no opening "{{"')
        if not directive.arguments.accept(len(statement.arguments)):
            raise statement.error(f'invalid number of arguments in "{name}" directive')
        if directive.kind is BLOCK:
            self._open(statement, directive)
        elif name == "include":
            self._include(statement)
        else:
            self._set(statement, directive)

    def _set(self, statement: Statement, directive: Directive) -> None:
        values = statement.scope.values
        previous = values.get(directive.name)
        if directive.name in values and not directive.kind.repeats:
            raise statement.directive_error("is duplicate")
        if directive.name == "load_module" and self.main.blocks:
            raise statement.directive_error("is specified too late")
        values[directive.name] = directive.kind.parse(statement, previous)
        statement.scope.places[directive.name] = statement.lexer.place
        if directive.state is State.NO_FUNCTION:
            self._ignore(statement, directive)
        else:
            statement.scope.statements.append(statement.words)

    def _open(self, statement: Statement, directive: Directive) -> None:
        name, scope = statement.name, statement.scope
        if name in scope.blocks and name != "server":
            raise statement.directive_error("is duplicate")
        context: Context | None = {"events": "events", "mail": "mail", "server": "server"}.get(name)  # type: ignore[assignment]
        inner = Scope(context or "main", scope, statement.lexer.place)
        scope.blocks.setdefault(name, []).append(inner)
        if context is None:
            statement.warn(f'"{name}" {IGNORED_BLOCK}')
            self._ignore(statement, directive)
            statement.lexer.skip_block()
            return
        self._parse(statement.lexer, inner, block=True)
        inner.end = statement.lexer.place
        if context == "server" and not inner.values.get("listen"):
            raise ConfigError(f'no "listen" is defined for server in {inner.place}')
        if context == "mail":
            _check_mail(inner, self.environment, statement.lexer.place)

    def _ignore(self, statement: Statement, directive: Directive) -> None:
        ignored = Ignored(
            tuple(statement.words), statement.lexer.place, directive.text, directive.arguments.block
        )
        self.environment.ignored.append(ignored)

    def _include(self, statement: Statement) -> None:
        path = self.environment.conf_path(statement.words[1])
        paths = [path]
        if any(char in path for char in _MAGIC):
            # in the order of bytes, as glob(3) in the C locale
            paths = sorted(glob.glob(path), key=os.fsencode)
        if self._depth >= _DEEPEST_INCLUDE:
            raise statement.directive_error("is nested too deeply")
        self._depth += 1
        for path in paths:
            try:
                data = self._read(path)
            except OSError as error:
                raise statement.os_error(f'open() "{path}"', error) from None
            self._parse(Lexer(data, path), statement.scope, block=False)
        self._depth -= 1


def inherited(server: Scope, environment: Environment) -> dict[str, Any]:
    """Every directive of a server by name, with what it inherits."""
    values = {}
    for name, directive in TABLE.items():
        if "server" not in directive.contexts or name == "include":
            continue
        default = directive.default_for(environment)
        if directive.merge is not Merge.NONE and server.parent is not None:
            default = server.parent.values.get(name, default)
        values[name] = server.values.get(name, default)
    return values


def _check_mail(mail: Scope, environment: Environment, end: str) -> None:
    """What can be said of servers only once the mail block is complete."""
    servers = mail.blocks.get("server", [])
    for server in servers:
        if "protocol" not in server.values:
            raise ConfigError(f"unknown mail protocol for server in {server.place}")
    for server in servers:
        server.tls = tls.load(server, inherited(server, environment), environment, end)
    for server in servers:
        server.proxy_tls = proxy_tls.load(server, inherited(server, environment), environment)
    for server in servers:
        if "auth_http" not in server.values and "auth_http" not in mail.values:
            raise ConfigError(f'no "auth_http" is defined for server in {server.place}')
        server.auth_tls = auth_tls.load(server, inherited(server, environment), environment)
