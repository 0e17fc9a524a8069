"""One statement being read, and what it may ask of its surroundings."""

import socket
from dataclasses import dataclass, field
from typing import Any, Literal

from .defaults import Defaults
from .errors import ConfigError, failed, located
from .lexer import Lexer

Context = Literal["main", "events", "mail", "server"]


@dataclass(frozen=True)
class Ignored:
    """A directive of the configuration that is accepted without function."""

    words: tuple[str, ...]
    place: str  # FILE:LINE
    reason: str  # what the table of directives says of it
    block: bool


@dataclass
class Environment:
    """What holds for the whole configuration."""

    prefix: str
    conf_prefix: str  # directory of the main file: what include is relative to
    identity: str
    defaults: Defaults
    messages: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)  # in the order read
    zones: dict[str, tuple[str, int]] = field(default_factory=dict)  # who has declared which, and its size

    @property
    def host_name(self) -> str:
        """What ``server_name`` is when nothing is said, lower-cased as nginx does."""
        return socket.gethostname().lower()

    def prefix_path(self, path: str) -> str:
        """Absolute path of a file whose base is the prefix (error_log, pid, lock_file)."""
        return c_string(path if path.startswith("/") else self.prefix + path)

    def conf_path(self, path: str) -> str:
        """Absolute path of a file whose base is the main file's directory (include)."""
        return c_string(path if path.startswith("/") else self.conf_prefix + path)


def c_string(text: str) -> str:
    """What a system call sees of the text: it ends at the first NUL."""
    return text.partition("\0")[0]


@dataclass
class Scope:
    """One level of the configuration: what has been set on it, by directive name."""

    context: Context
    parent: "Scope | None" = None
    place: str = ""  # FILE:LINE of the opening brace
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)  # FILE:LINE of what set each of the values
    end: str = ""  # FILE:LINE of the closing brace
    statements: list[list[str]] = field(default_factory=list)  # the words of the simple ones that were obeyed
    blocks: dict[str, list["Scope"]] = field(default_factory=dict)
    addresses: set[Any] = field(default_factory=set)  # listened on in this mail block
    tls: Any = None  # ServerTLS of a server that speaks TLS
    proxy_tls: Any = None  # TLSContext of a server whose backends do
    auth_tls: Any = None  # ssl.SSLContext of a server whose auth server does


@dataclass
class Statement:
    """The words of a simple directive or of a block's opening."""

    words: list[str]
    lexer: Lexer
    scope: Scope
    environment: Environment

    @property
    def name(self) -> str:
        return self.words[0]

    @property
    def arguments(self) -> list[str]:
        return self.words[1:]

    def error(self, message: str) -> ConfigError:
        """An error that names the statement's place."""
        return ConfigError(located(message, self.lexer.place))

    def directive_error(self, message: str) -> ConfigError:
        """``"NAME" directive MESSAGE in FILE:LINE``."""
        return self.error(f'"{self.name}" directive {message}')

    def os_error(self, call: str, error: OSError) -> ConfigError:
        """``CALL failed (ERRNO: TEXT) in FILE:LINE``."""
        return self.error(failed(call, error))

    def warn(self, message: str, level: str = "warn") -> None:
        """Note something that does not stop the configuration from loading."""
        self.environment.messages.append((level, located(message, self.lexer.place)))
