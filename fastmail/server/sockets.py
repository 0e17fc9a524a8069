"""Listening sockets: opened by the master, inherited by workers, kept over reloads by their address."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from errno import EADDRINUSE, EINVAL, ENOPROTOOPT, EPROTONOSUPPORT
from typing import Any, Protocol

from fastmail.logs import Log, describe
from fastmail.server import StartFailed

BIND_ROUNDS = 5
BIND_PAUSE = 0.5  # seconds

_IPPROTO_MPTCP = 262  # Python has no name for it
_NO_MULTIPATH = (EINVAL, ENOPROTOOPT, EPROTONOSUPPORT)  # built without, switched off (net.mptcp.enabled)

_WILDCARDS: dict[int, str] = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}

Key = tuple[int, Any]


class Keepalive(Protocol):
    """``so_keepalive``: seconds and a count, 0 where the system's value is left."""

    @property
    def on(self) -> bool: ...
    @property
    def idle(self) -> int: ...
    @property
    def interval(self) -> int: ...
    @property
    def count(self) -> int: ...


class Listen(Protocol):
    """One address of a ``listen`` directive, and what its parameters ask of the socket."""

    @property
    def text(self) -> str: ...
    @property
    def family(self) -> int: ...
    @property
    def address(self) -> Any: ...
    @property
    def backlog(self) -> int: ...
    @property
    def bind(self) -> bool: ...
    @property
    def rcvbuf(self) -> int | None: ...
    @property
    def sndbuf(self) -> int | None: ...
    @property
    def ipv6only(self) -> bool: ...
    @property
    def so_keepalive(self) -> Keepalive | None: ...
    @property
    def multipath(self) -> bool: ...


def key(listen: Listen) -> Key:
    """What makes two ``listen`` the same socket: its protocol cannot be changed once it is open."""
    address = listen.address
    if isinstance(address, str):
        return listen.family, address
    return listen.family, (*address[:2], *(("multipath",) if listen.multipath else ()))


def key_of(sock: socket.socket) -> Key:
    """The key of the ``listen`` that an open socket belongs to."""
    address: Any = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return sock.family, os.fsdecode(address)
    return sock.family, tuple(address[:2])


def _is_wildcard(listen: Listen) -> bool:
    return listen.family in _WILDCARDS and bool(listen.address[0] == _WILDCARDS[listen.family])


def wildcard_of(listen: Listen, listens: Iterable[Listen]) -> Listen | None:
    """The wildcard whose socket serves this address: only ``bind`` asks for one of its own."""
    if listen.family not in _WILDCARDS or listen.bind or _is_wildcard(listen):
        return None
    for other in listens:
        if _is_wildcard(other) and other.family == listen.family and other.address[1] == listen.address[1]:
            return other
    return None


class ListeningSocket:
    """An open listening socket and the ``listen`` that it serves."""

    def __init__(self, listen: Listen, sock: socket.socket) -> None:
        self.text = listen.text
        self.backlog = listen.backlog
        self._socket = sock
        self._path = listen.address if listen.family == socket.AF_UNIX else None
        self.inherited = False  # from a predecessor, which may still be using it

    def fileno(self) -> int:
        return self._socket.fileno()

    def set_backlog(self, backlog: int, log: Log) -> None:
        """Apply a ``backlog`` that a reload has changed. What the kernel refuses is logged, no more."""
        if backlog != self.backlog:
            try:
                self._socket.listen(backlog)
            except OSError as error:
                log.alert(f"listen() to {self.text}, backlog {backlog} failed, ignored", error)
            self.backlog = backlog

    def set_options(self, listen: Listen, log: Log) -> None:
        """Apply ``rcvbuf``, ``sndbuf`` and ``so_keepalive``. What the kernel refuses is logged, no more."""
        buffers = (
            ("SO_RCVBUF", socket.SO_RCVBUF, listen.rcvbuf),
            ("SO_SNDBUF", socket.SO_SNDBUF, listen.sndbuf),
        )
        for name, option, size in buffers:
            if size is not None:
                self._set(socket.SOL_SOCKET, option, size, f"{name}, {size}", log)
        keepalive = listen.so_keepalive
        if keepalive is None:
            return
        value = int(keepalive.on)
        self._set(socket.SOL_SOCKET, socket.SO_KEEPALIVE, value, f"SO_KEEPALIVE, {value}", log)
        if listen.family == socket.AF_UNIX:
            return
        probes = (
            ("TCP_KEEPIDLE", socket.TCP_KEEPIDLE, keepalive.idle),
            ("TCP_KEEPINTVL", socket.TCP_KEEPINTVL, keepalive.interval),
            ("TCP_KEEPCNT", socket.TCP_KEEPCNT, keepalive.count),
        )
        for name, option, value in probes:
            if value:
                self._set(socket.IPPROTO_TCP, option, value, f"{name}, {value}", log)

    def _set(self, level: int, option: int, value: int, shown: str, log: Log) -> None:
        try:
            self._socket.setsockopt(level, option, value)
        except OSError as error:
            log.alert(f"setsockopt({shown}) {self.text} failed, ignored", error)

    def allow_neighbours(self, allow: bool) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, allow)

    @classmethod
    def adopt(cls, listen: Listen, sock: socket.socket, *, lent: bool = False) -> ListeningSocket:
        """One that a predecessor has opened; its backlog is unknown until it is set.

        ``lent``: by systemd, which keeps it; the file of a unix socket is not ours to remove.
        """
        adopted = cls(listen, sock)
        if lent:
            adopted._path = None
        adopted.backlog = -1
        adopted.inherited = True
        return adopted

    def close(self) -> None:
        """Close it here; workers that still have it are not disturbed."""
        self._socket.close()

    def remove(self, log: Log) -> None:
        """Close it for good: the file of a unix socket goes too."""
        self.close()
        if self._path is not None:
            try:
                os.unlink(self._path)
            except OSError as error:
                log.emerg(f'unlink() "{self._path}" failed', error)


Sockets = dict[Key, ListeningSocket]


def open_all(
    listens: Iterable[Listen], current: Mapping[Key, ListeningSocket], log: Log, *, testing: bool = False
) -> Sockets:
    """A socket for every ``listen``: those in ``current`` as they are, the others new.

    Addresses in use are tried five times, 500 ms apart (not when ``testing``, where they do not matter).
    Raises StartFailed, having closed what it opened.
    """
    # Wildcards first: of two neighbours, the one bound later decides whom the kernel lets in beside them.
    every = list(listens)
    own = [listen for listen in every if wildcard_of(listen, every) is None]
    wanted = {key(listen): listen for listen in sorted(own, key=lambda listen: not _is_wildcard(listen))}
    sockets = {name: current[name] for name in wanted if name in current}
    fresh: Sockets = {}
    try:
        for _ in range(BIND_ROUNDS):
            for name, listen in wanted.items():
                if name in sockets:
                    continue
                opened = _open(listen, {**current, **sockets}, log, quiet=testing)
                if opened is not None:
                    sockets[name] = fresh[name] = opened
            if testing or len(sockets) == len(wanted):
                break
            log.notice("try again to bind() after 500ms")
            time.sleep(BIND_PAUSE)
        else:
            raise StartFailed("still could not bind()")
    except StartFailed:
        for new in fresh.values():
            new.remove(log)
        raise
    return sockets


def adjust(listens: Iterable[Listen], sockets: Sockets, log: Log) -> None:
    """Give sockets that may have served another configuration what these ``listen`` ask for."""
    for listen in listens:
        if (sock := sockets.get(key(listen))) is not None:
            sock.set_backlog(listen.backlog, log)
            sock.set_options(listen, log)


def _open(
    listen: Listen, others: Mapping[Key, ListeningSocket], log: Log, *, quiet: bool
) -> ListeningSocket | None:
    """A new socket, or None if its address is in use. Raises StartFailed."""
    step = f"socket() {listen.text}"
    sock = None
    bound = False
    try:
        sock = _socket(listen, log)
        sock.setblocking(False)
        new = ListeningSocket(listen, sock)
        step = f"setsockopt() {listen.text}"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listen.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, listen.ipv6only)
        step = f"bind() to {listen.text}"
        with _neighbours(listen, new, others), _open_to_all():
            sock.bind(listen.address)
            bound = True
            step = f"listen() to {listen.text}, backlog {listen.backlog}"
            sock.listen(listen.backlog)
        return new
    except OSError as error:
        if sock is not None:
            sock.close()
        if bound and listen.family == socket.AF_UNIX:
            os.unlink(listen.address)
        if error.errno != EADDRINUSE:
            raise StartFailed(f"{step} failed {describe(error)}") from error
        if not quiet:
            log.emerg(f"{step} failed", error)
        return None


def _socket(listen: Listen, log: Log) -> socket.socket:
    if listen.multipath and listen.family != socket.AF_UNIX:
        try:
            return socket.socket(listen.family, socket.SOCK_STREAM, _IPPROTO_MPTCP)
        except OSError as error:
            if error.errno not in _NO_MULTIPATH:
                raise
            log.emerg("multipath is not supported on this platform, ignored")
    return socket.socket(listen.family, socket.SOCK_STREAM)


@contextlib.contextmanager
def _open_to_all() -> Iterator[None]:
    """Unix sockets that are bound here have mode 0666. chmod() would follow a link put in their place."""
    before = os.umask(0o111)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def _neighbours(
    listen: Listen, new: ListeningSocket, others: Mapping[Key, ListeningSocket]
) -> Iterator[None]:
    """Let a wildcard and single addresses of our own stand on one port, or for the time of a reload that
    changes ``multipath`` two sockets on one address.

    nginx opens the wildcard alone then and asks every connection for its local address; Linux does that
    lookup itself, but wants SO_REUSEPORT on both while binding. It is taken back at once: another program of
    the same user could share the port.
    """
    name = key(listen)
    wildcard = _WILDCARDS.get(listen.family)
    near = [
        other
        for (family, address), other in others.items()
        if wildcard is not None
        and family == listen.family
        and address[1] == name[1][1] != 0
        and (wildcard in (address[0], name[1][0]) or address[0] == name[1][0])
    ]
    affected = [*near, new] if near else []
    for one in affected:
        one.allow_neighbours(True)
    try:
        yield
    finally:
        for one in affected:
            one.allow_neighbours(False)
