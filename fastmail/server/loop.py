"""The loop of a worker's Python half: uvloop's, without an io_uring.

libuv makes an io_uring with each loop, to save system calls that a worker hardly makes. What is asked of it
passes by seccomp filters, and it has been a source of holes in the kernel. No setting turns all of it off
(``UV_USE_IO_URING=0`` is for file operations), but libuv does without where the kernel has none.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import threading

import uvloop

_LIBC = ctypes.CDLL(None)
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2
_IO_URING_SETUP = 425  # on every architecture
_ENOSYS = 38
_FILTER = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x20, 0, 0, 0),  # load the system call's number
        (0x15, 0, 1, _IO_URING_SETUP),  # if it is this one
        (0x06, 0, 0, 0x00050000 | _ENOSYS),  # it fails
        (0x06, 0, 0, 0x7FFF0000),  # others are let through
    )
)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A loop for this thread. It is made on another one, whose filter ends with it."""
    os.environ.setdefault("UV_USE_IO_URING", "0")
    made: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=_make, args=(made,), name="loop")
    thread.start()
    thread.join()
    return made[0] if made else uvloop.new_event_loop()


def _make(made: list[asyncio.AbstractEventLoop]) -> None:
    program = _Program(len(_FILTER) // 8, _FILTER)
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Where this is refused, there is an io_uring.
    _LIBC.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
    made.append(uvloop.new_event_loop())
