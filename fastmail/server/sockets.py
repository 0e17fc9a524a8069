"""Listening sockets: opened by the master, inherited by workers, kept over reloads by their address."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from errno import EADDRINUSE
from typing import Any, Protocol

from fastmail.logs import Log, describe
from fastmail.server import StartFailed

BIND_ROUNDS = 5
BIND_PAUSE = 0.5  # seconds

_WILDCARDS: dict[int, str] = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}

Key = tuple[int, Any]


class Listen(Protocol):
    """One address of a ``listen`` directive: its printed text, family, socket address and backlog."""

    @property
    def text(self) -> str: ...
    @property
    def family(self) -> int: ...
    @property
    def address(self) -> Any: ...
    @property
    def backlog(self) -> int: ...


def key(listen: Listen) -> Key:
    """What makes two ``listen`` the same socket."""
    address = listen.address
    return listen.family, address if isinstance(address, str) else tuple(address[:2])


def _is_wildcard(listen: Listen) -> bool:
    return listen.family in _WILDCARDS and bool(listen.address[0] == _WILDCARDS[listen.family])


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

    def set_backlog(self, backlog: int) -> None:
        """Apply a ``backlog`` that a reload has changed."""
        if backlog != self.backlog:
            self._socket.listen(backlog)
            self.backlog = backlog

    def allow_neighbours(self, allow: bool) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, allow)

    @classmethod
    def adopt(cls, listen: Listen, sock: socket.socket) -> ListeningSocket:
        """One that a predecessor has opened; its backlog is unknown until it is set."""
        adopted = cls(listen, sock)
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
    wanted = {key(listen): listen for listen in sorted(listens, key=lambda listen: not _is_wildcard(listen))}
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
    for name in sockets.keys() - fresh.keys():
        sockets[name].set_backlog(wanted[name].backlog)
    return sockets


def _open(
    listen: Listen, others: Mapping[Key, ListeningSocket], log: Log, *, quiet: bool
) -> ListeningSocket | None:
    """A new socket, or None if its address is in use. Raises StartFailed."""
    step = f"socket() {listen.text}"
    sock = None
    bound = False
    try:
        sock = socket.socket(listen.family, socket.SOCK_STREAM)
        sock.setblocking(False)
        new = ListeningSocket(listen, sock)
        step = f"setsockopt() {listen.text}"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listen.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        step = f"bind() to {listen.text}"
        with _neighbours(listen, new, others):
            sock.bind(listen.address)
            bound = True
            if listen.family == socket.AF_UNIX:
                step = f'chmod() "{listen.address}"'
                os.chmod(listen.address, 0o666)
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


@contextlib.contextmanager
def _neighbours(
    listen: Listen, new: ListeningSocket, others: Mapping[Key, ListeningSocket]
) -> Iterator[None]:
    """Let a wildcard and single addresses of our own stand on one port.

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
        and wildcard in (address[0], name[1][0])
    ]
    affected = [*near, new] if near else []
    for one in affected:
        one.allow_neighbours(True)
    try:
        yield
    finally:
        for one in affected:
            one.allow_neighbours(False)
