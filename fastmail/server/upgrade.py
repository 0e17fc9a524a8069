"""Upgrade on the fly (reference 11.3): one master hands its listening sockets to the next.

The variable ``NGINX`` carries their descriptors, so nginx and fastmail can follow each other in any order.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from fastmail.logs import CRIT, Log, describe
from fastmail.server.sockets import Key, key_of

VARIABLE = "NGINX"

REFUSED = (
    "the changing binary signal is ignored: you should shutdown or terminate before "
    "either old or new binary's process"
)

_FAMILIES = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX


class Inherited:
    """The listening sockets that a predecessor has left us, by their address."""

    def __init__(self, log: Log) -> None:
        """Take them from the environment. Those that are no sockets are logged, and left alone."""
        text = os.environ.pop(VARIABLE, None)
        self.started_by_master = text is not None
        self._sockets: dict[Key, socket.socket] = {}
        if text is None:
            return
        log.notice(f'using inherited sockets from "{text}"')
        for number in _numbers(text, log):
            self._take(number, log)

    def claim(self, name: Key) -> socket.socket | None:
        """The socket of an address: the caller's from now on."""
        return self._sockets.pop(name, None)

    def close(self, log: Log) -> None:
        """Let go of those that the configuration does not name; the predecessor may still use them."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    def _take(self, number: int, log: Log) -> None:
        try:
            sock = socket.socket(fileno=number)
        except (OSError, OverflowError) as error:
            reason = f" {describe(error)}" if isinstance(error, OSError) else ""
            log.log(CRIT, f"getsockname() of the inherited socket #{number} failed{reason}")
            return
        name = key_of(sock)
        if sock.family not in _FAMILIES:
            log.log(CRIT, f"the inherited socket #{number} has an unsupported protocol family")
            sock.detach()
        elif sock.type != socket.SOCK_STREAM or name in self._sockets:
            sock.close()
        else:
            sock.set_inheritable(False)
            sock.setblocking(False)
            self._sockets[name] = sock


def _numbers(text: str, log: Log) -> list[int]:
    """The descriptors of ``5;6;``; nothing behind a mistake counts."""
    numbers: list[int] = []
    position = 0
    for found in re.finditer(r"([^;:]*)[;:]", text):
        if not re.fullmatch("[0-9]+", found[1]):
            log.emerg(
                f'invalid socket number "{text[position:]}" in {VARIABLE} environment variable, '
                "ignoring the rest of the variable"
            )
            return numbers
        numbers.append(int(found[1]))
        position = found.end()
    if position < len(text):
        log.emerg(f'invalid socket number "{text[position:]}" in {VARIABLE} environment variable, ignoring')
    return numbers


def own_command(arguments: Sequence[str] | None = None) -> list[str]:
    """The command that starts this program again, whatever the current directory is by then.

    With other ``arguments``, if there are any; with the same otherwise.

    A script is executed by its own path, not through our interpreter: what lies there by then may be another
    program altogether.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    specification = getattr(sys.modules["__main__"], "__spec__", None)
    script = os.path.abspath(sys.argv[0])
    if specification is None and os.access(script, os.X_OK) and os.path.isfile(script):
        return [script, *arguments]
    options = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    if specification is None and options:
        options[-1] = script  # python [options] script
    return [sys.executable, *options, *arguments]


def execute(
    command: list[str], environment: Mapping[str, str], descriptors: Iterable[int], log: Log
) -> NoReturn:
    """Become the new binary; in a forked process. Does not return."""
    try:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, True)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(command[0], command, {**environment, VARIABLE: "".join(f"{fd};" for fd in descriptors)})
    except OSError as error:
        log.alert(f'execve() failed while executing new binary process "{command[0]}"', error)
    finally:
        os._exit(1)
