"""Logs that the engine cannot write to: no session waits for them, and what is lost is counted."""

import contextlib
import errno
import os
import re
import socket
from collections.abc import Iterator

import pytest
from support.engine import Rig, until

LINES = 120  # of 2 kB: more than a pipe and what the engine keeps have room for


def refused(rig: Rig) -> None:
    """A session that leaves a line of 2048 bytes, and is served to its end."""
    client = rig.client()
    client.send(b"a LOGIN " + b"u" * 2000 + b" pass\r\n")
    rig.asked().send(b"HTTP/1.0 200 OK\r\nAuth-Status: no\r\n\r\n")
    assert client.rest().startswith(b"a NO no\r\n")


@contextlib.contextmanager
def pipe(kind: str) -> Iterator[tuple[int, int]]:
    if kind == "socket":
        pair = socket.socketpair()
        reader, writer = (end.detach() for end in pair)
    else:
        reader, writer = os.pipe()
    if kind == "own":
        os.set_blocking(writer, False)
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("kind", ["own", "shared", "socket"])
def test_log_that_nobody_reads(kind: str) -> None:
    with pipe(kind) as (reader, writer), Rig(log=[(writer, 7)], client_buffer=8192) as rig:
        for _ in range(LINES):
            refused(rig)
        assert os.get_blocking(writer) == (kind != "own"), "others have it too"
        os.set_blocking(reader, False)
        text = b""

        def lost() -> "re.Match[bytes] | None":
            nonlocal text
            with contextlib.suppress(BlockingIOError):
                text += os.read(reader, 1 << 20)
            return re.search(rb"\[alert\] \d+#0: (\d+) log lines lost \(11: Resource temporarily.*\)\n", text)

        until(lambda: lost() is not None)
        found = lost()
        assert found is not None
        lines = text.splitlines()
        assert all(re.match(rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[", line) for line in lines), "none is torn"
        assert len(lines) - 1 + int(found[1]) == 2 * LINES, "each is there or counted"


def test_log_whose_reader_has_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Rig(log=[(writer, 7)], client_buffer=8192) as rig:
        refused(rig)
    os.close(writer)


def test_full_disk() -> None:
    """/dev/full refuses everything."""
    kept = os.memfd_create("log")
    with open("/dev/full", "wb", buffering=0) as log, Rig(log=[(log.fileno(), 7)], client_buffer=8192) as rig:
        refused(rig)
        rig.quiet()
        os.dup2(kept, log.fileno())
        refused(rig)
        until(lambda: b"lost" in os.pread(kept, 65536, 0))
    text = os.pread(kept, 65536, 0).decode()
    os.close(kept)
    assert re.search(rf"\[alert\] \d+#0: [12] log lines lost \({errno.ENOSPC}: No space .*\)\n", text)
