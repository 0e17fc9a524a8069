"""TLS contexts from the ``ssl_*`` directives, made while the configuration is read, as nginx does.

Files are read only for servers that speak TLS; all but the password file go by OpenSSL's own functions, whose
errors the messages carry.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastmail._speedups import TLSContext, TLSError, use_engine

from . import units, validity
from .errors import ConfigError, failed, located
from .kinds import FLAG, enum
from .session_cache import SessionCache
from .zone import Zone

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .statement import Environment, Scope, Statement

RELOAD = 10_000
"""Milliseconds between two looks at certificate files: ``ssl_certificate_reload on``."""

STARTTLS = enum("off", "on", "only")

_LONGEST_PASSWORD = 4096  # bytes of a line, with its end


Signatures = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True)
class ServerTLS:
    """What a server needs to speak TLS."""

    context: TLSContext
    zone: Zone | None
    """Shared memory for its sessions, and for the keys of tickets if there are no ``ticket_keys``."""
    ticket_keys: tuple[bytes, ...]
    files: tuple[tuple[bytes, bytes], ...]
    """Certificates and keys, as TLSContext.certificate() takes them."""
    passwords: tuple[bytes, ...] | None
    reload: int  # milliseconds; 0: never
    loaded: Signatures
    """What signatures() was just before the files were read."""

    def signatures(self) -> Signatures:
        """What a change of the files changes; empty if there are none."""
        return signatures(self.files)

    def fresh(self) -> TLSContext:
        """A context with the certificates as the files have them now, and nothing else. Raises TLSError.

        Nobody is asked for a password.
        """
        return renewed(self.files, self.passwords or (b"",))


def is_file(name: bytes) -> bool:
    """Whether a certificate or key is in a file."""
    return not name.startswith((b"data:", b"engine:", b"store:"))


def signatures(pairs: Iterable[tuple[bytes, bytes]]) -> Signatures:
    """Of the files among certificates and keys; symbolic links are followed. None: it cannot be found."""
    return tuple(_signature(name) for pair in pairs for name in pair if is_file(name))


def _signature(path: bytes) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def renewed(pairs: Iterable[tuple[bytes, bytes]], passwords: Iterable[bytes]) -> TLSContext:
    """A context with certificates alone. Raises TLSError."""
    context = TLSContext()
    for certificate, key in pairs:
        context.certificate(certificate, key, list(passwords))
    context.select_by_name()
    return context


def parse_reload(statement: Statement, previous: Any) -> int:
    """``ssl_certificate_reload on | off | TIME``: milliseconds, 0 for off."""
    word = statement.words[1].lower()
    if word in ("on", "off"):
        return RELOAD if word == "on" else 0
    try:
        return units.milliseconds(word)
    except ValueError:
        raise statement.directive_error("invalid value") from None


def parse_ssl(statement: Statement, previous: Any) -> bool:
    """``ssl on | off``, which nginx 1.25.1 removed."""
    enabled: bool = FLAG.parse(statement, previous)
    statement.warn('the "ssl" directive is deprecated, use the "listen ... ssl" directive instead')
    if enabled and statement.scope.values.get("starttls", "off") != "off":
        raise statement.error('"starttls" directive conflicts with "ssl on"')
    return enabled


def parse_starttls(statement: Statement, previous: Any) -> str:
    """``starttls off | on | only``; like nginx, compared with ``ssl`` of the same level alone."""
    mode: str = STARTTLS.parse(statement, previous)
    if mode != "off" and statement.scope.values.get("ssl"):
        raise statement.error('"ssl" directive conflicts with "starttls"')
    return mode


def parse_engine(statement: Statement, previous: Any) -> str:
    """``ssl_engine``: an OpenSSL engine does what it can, from now on."""
    name = statement.words[1]
    try:
        use_engine(encoded(name))
    except NotImplementedError:
        raise statement.directive_error("is not supported") from None
    except TLSError as error:
        raise ConfigError(str(error)) from None
    return name


def parse_password_file(statement: Statement, previous: Any) -> tuple[bytes, ...]:
    """The passphrases of a file, one per line; read at once, whether they are needed or not."""
    path = statement.environment.conf_path(statement.words[1])
    try:
        with open(path, "rb") as file:
            lines = [line.removesuffix(b"\n") for line in file]
    except OSError as error:
        call = "read()" if isinstance(error, IsADirectoryError) else "open()"
        raise statement.os_error(f'{call} "{path}"', error) from None
    if any(len(line) >= _LONGEST_PASSWORD for line in lines):
        raise statement.error(f'too long line in "{path}"')
    return tuple(filter(None, (line.removesuffix(b"\r") for line in lines))) or (b"",)


def load(server: Scope, values: Mapping[str, Any], environment: Environment, end: str) -> ServerTLS | None:
    """What ``server`` needs; None if it has no ``listen … ssl``, ``ssl``, ``starttls``. Raises ConfigError.

    ``values`` has its directives and those it inherits; ``end`` is the place of the closing brace of `mail`.
    """
    listens = [listen for listen in values["listen"] if listen.ssl]
    if listens:
        reason = f'the "listen ... ssl" directive in {listens[-1].location}'
    elif values["ssl"]:
        reason = f'the "ssl" directive in {_place_of_mode(server)}'
    elif values["starttls"] != "off":
        reason = f'the "starttls" directive in {_place_of_mode(server)}'
    else:
        return None
    certificates, keys = values["ssl_certificate"], values["ssl_certificate_key"]
    if not certificates:
        raise ConfigError(f'no "ssl_certificate" is defined for {reason}')
    if not keys:
        raise ConfigError(f'no "ssl_certificate_key" is defined for {reason}')
    if len(keys) < len(certificates):
        raise ConfigError(
            f'no "ssl_certificate_key" is defined for certificate "{certificates[-1]}" and {reason}'
        )
    with messages():
        return _load(server, values, environment, end)


def _load(server: Scope, values: Mapping[str, Any], environment: Environment, end: str) -> ServerTLS:
    def file(name: str) -> bytes:
        return encoded(environment.conf_path(name))

    context = TLSContext()
    context.protocols(values["ssl_protocols"])
    context.alpn(encoded(values["protocol"]))
    context.ciphers(encoded(values["ssl_ciphers"]), prefer_server=values["ssl_prefer_server_ciphers"])
    passwords = values["ssl_password_file"]
    pairs = tuple(
        (
            encoded(certificate) if certificate.startswith("data:") else file(certificate),
            encoded(key) if key.startswith(("data:", "engine:", "store:")) else file(key),
        )
        for certificate, key in zip(values["ssl_certificate"], values["ssl_certificate_key"], strict=False)
    )
    loaded = signatures(pairs)
    for certificate, key in pairs:
        context.certificate(certificate, key, None if passwords is None else list(passwords))
    context.select_by_name()
    validity.warn(environment.messages, [certificate for certificate, _ in pairs])
    if values["ssl_certificate_compression"] and not context.compress_certificates():
        text = '"ssl_certificate_compression" is not supported on this platform, ignored'
        environment.messages.append(("warn", text))
    rules = _load_clients_rules(context, values, file)
    if values["ssl_dhparam"]:
        context.dhparam(file(values["ssl_dhparam"]))
    if values["ssl_ecdh_curve"] != "auto":
        context.curves(encoded(values["ssl_ecdh_curve"]))
    context.session_timeout(values["ssl_session_timeout"])
    context.session_id_context(rules)
    zone = _set_session_cache(context, server)
    context.session_tickets(values["ssl_session_tickets"])
    ticket_keys = tuple(_ticket_key(file(name), end) for name in values["ssl_session_ticket_key"])
    context.conf_commands(
        [(encoded(name), encoded(value)) for name, value in values["ssl_conf_command"]],
        lambda name: encoded(environment.conf_path(os.fsdecode(name))),
    )
    return ServerTLS(context, zone, ticket_keys, pairs, passwords, values["ssl_certificate_reload"], loaded)


def _load_clients_rules(context: TLSContext, values: Mapping[str, Any], file: Any) -> bytes:
    """``ssl_verify_client`` and its files. Returns what tells these rules from others."""
    mode = values["ssl_verify_client"]
    if mode == "off":
        return b""
    depth = values["ssl_verify_depth"]
    own, trusted, crl = (
        values[name] and file(values[name])
        for name in ("ssl_client_certificate", "ssl_trusted_certificate", "ssl_crl")
    )
    if mode != "optional_no_ca" and not own and not trusted:
        raise ConfigError("no ssl_client_certificate or ssl_trusted_certificate for ssl_verify_client")
    context.verify_client(mode, min(depth, 2**31 - 1))
    if own:
        context.client_certificate(own)
    if trusted:
        context.trusted_certificate(trusted)
    if crl:
        context.crl(crl)
    digest = hashlib.sha256(f"{mode} {depth}".encode())
    for path in (own, trusted, crl):
        if path:
            with open(path, "rb") as opened:
                digest.update(hashlib.sha256(opened.read()).digest())
        digest.update(b" ")
    return digest.digest()


def _set_session_cache(context: TLSContext, server: Scope) -> Zone | None:
    """``ssl_session_cache``, whose halves are inherited one by one."""
    said: list[SessionCache] = [
        scope.values["ssl_session_cache"] for scope in _levels(server) if "ssl_session_cache" in scope.values
    ]
    zone = next((cache.zone for cache in said if cache.zone is not None), None)
    chosen = next((cache for cache in said if cache.mode is not None or cache.zone is not None), None)
    if chosen is None:
        context.session_cache("none")
        return None
    if chosen.mode is None:
        context.session_cache("shared")
        return zone
    context.session_cache(chosen.mode, size=min(chosen.size, 2**31 - 1))
    return zone if chosen.mode == "builtin" else None


def place_of(name: str, server: Scope) -> str:
    """FILE:LINE of the directive that holds for the server."""
    return next(scope.places[name] for scope in _levels(server) if name in scope.places)


def _place_of_mode(server: Scope) -> str:
    """FILE:LINE of the last ``ssl`` or ``starttls`` of the nearest level that has any (nginx)."""
    places = (
        [place for name, place in scope.places.items() if name in ("ssl", "starttls")]
        for scope in _levels(server)
    )
    return next(found[-1] for found in places if found)


def _levels(server: Scope) -> list[Scope]:
    return [server, server.parent] if server.parent is not None else [server]


def _ticket_key(path: bytes, end: str) -> bytes:
    name = os.fsdecode(path)
    try:
        with open(path, "rb") as file:
            key = file.read(81)
    except OSError as error:
        raise ConfigError(located(failed(f'open() "{name}"', error), end)) from None
    if len(key) not in (48, 80):
        raise ConfigError(located(f'"{name}" must be 48 or 80 bytes', end))
    return key


@contextmanager
def messages() -> Iterator[None]:
    """What a context cannot be made of makes no configuration."""
    try:
        yield
    except TLSError as error:
        raise ConfigError(str(error)) from None


def encoded(text: str) -> bytes:
    """As C functions take it: up to the first NUL."""
    return text.partition("\0")[0].encode("utf-8", "surrogateescape")
