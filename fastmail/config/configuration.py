"""A configuration that has been read and checked."""

import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fastmail._speedups import TLSContext

from . import error_log
from .auth_http import AuthHttp
from .capabilities import refused_before_login
from .defaults import Defaults
from .directives import BLOCK, TABLE
from .error_log import ErrorLog
from .errors import ConfigError
from .listen import Listen
from .parser import IGNORED_BLOCK, Parser, inherited
from .statement import Environment, Scope
from .tls import ServerTLS


class ServerConfiguration(Mapping[str, Any]):
    """One ``server {}``: every directive of that level by name, with what it inherits."""

    def __init__(self, server: Scope, environment: Environment, main_log: list[ErrorLog]) -> None:
        self._values = inherited(server, environment)
        self._values["error_log"] = tuple(self._values["error_log"] or main_log)
        self._values["server_name"] = self._values["server_name"] or environment.host_name
        if self._values["ssl"]:
            self._values["listen"] = tuple(replace(listen, ssl=True) for listen in self._values["listen"])
        self.location = server.place
        self.tls: ServerTLS | None = server.tls
        self.proxy_tls: TLSContext | None = server.proxy_tls
        self.auth_tls: ssl.SSLContext | None = server.auth_tls

    @property
    def protocol(self) -> str:
        return str(self._values["protocol"])

    @property
    def listens(self) -> list[Listen]:
        return list(self._values["listen"])

    @property
    def error_log(self) -> list[ErrorLog]:
        return list(self._values["error_log"])

    @property
    def auth_http(self) -> AuthHttp:
        auth: AuthHttp = self._values["auth_http"]
        return auth

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Configuration:
    """What load() returns. ``files`` are in the order opened; ``messages`` are (level, text).

    ``scope`` is the main level as it was read, with the blocks in it; ``ignored`` what has no function.
    """

    def __init__(self, path: str, parser: Parser) -> None:
        environment = parser.environment
        self.path = path
        self.prefix = environment.prefix
        self.files = parser.files
        self.messages = environment.messages
        self.ignored = environment.ignored
        self.scope = parser.main
        self.main: Mapping[str, Any] = _level(parser.main, environment)
        self.error_log = error_log.with_default(self.main["error_log"], environment)
        self.has_events = "events" in parser.main.blocks
        events = parser.main.blocks.get("events", [Scope("events")])[0]
        self.events: Mapping[str, Any] = _level(events, environment)
        mails = parser.main.blocks.get("mail", [])
        self.mail_error_log: list[ErrorLog] = [
            log for mail in mails for log in mail.values.get("error_log", ())
        ]
        self.servers = [
            ServerConfiguration(server, environment, self.error_log)
            for mail in mails
            for server in mail.blocks.get("server", ())
        ]

    def check(self) -> list[tuple[str, str]]:
        """What nginx looks at once the syntax is known to be right: further ``messages``. Raises ConfigError.

        A worker needs one connection for each listening socket and one for the master's channel.
        """
        if not self.has_events:
            raise ConfigError('no "events" section in configuration')
        listens = sum(len(server.listens) for server in self.servers)
        connections = self.events["worker_connections"]
        if connections < listens + 1:
            raise ConfigError(
                f"{connections} worker_connections are not enough for {listens} listening sockets"
            )
        messages = [
            ("warn", f'"{server.protocol}_capabilities" lists "{capability}", which is refused before login '
                     f"in {server.location}")
            for server in self.servers
            for capability in refused_before_login(server)
        ]  # fmt: skip
        if not _affinity_mismatch(self.main):
            return messages
        text = (
            'the number of "worker_processes" is not equal to the number of "worker_cpu_affinity" masks, '
            "using last mask for remaining worker processes"
        )
        return [("warn", text), *messages]


def _level(scope: Scope, environment: Environment) -> dict[str, Any]:
    """The values of a level that inherits from none, defaults filled in."""
    return {
        name: scope.values.get(name, directive.default_for(environment))
        for name, directive in TABLE.items()
        if scope.context in directive.contexts and directive.kind is not BLOCK and name != "include"
    }


def load(
    path: str,
    *,
    prefix: str,
    globals_text: str = "",
    identity: str = "fastmail",
    defaults: Defaults | None = None,
) -> Configuration:
    """Read the file at ``path`` (relative to ``prefix``) after the directives of ``-g``.

    What remains is for check().

    Raises ConfigError with nginx's text for the first thing that is wrong. Host names are resolved,
    which may block.
    """
    prefix = prefix if prefix.endswith("/") else prefix + "/"
    path = path if path.startswith("/") else prefix + path
    environment = Environment(
        prefix=prefix,
        conf_prefix=os.path.dirname(path).rstrip("/") + "/",
        identity=identity,
        defaults=defaults or Defaults.of(identity),
    )
    parser = Parser(environment)
    try:
        if globals_text:
            parser.parse_text(globals_text)
        parser.parse_file(path)
    except ConfigError as error:
        error.warnings = tuple(message for message in environment.messages if IGNORED_BLOCK not in message[1])
        raise
    return Configuration(path, parser)


def _affinity_mismatch(main: Mapping[str, Any]) -> bool:
    masks = main["worker_cpu_affinity"]
    return len(masks) > 1 and masks[0] != "auto" and len(masks) != main["worker_processes"]
