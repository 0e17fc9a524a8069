"""What the engine writes to its logs."""

import os
import re
import socket
import struct

from support.engine import BYE, INTERNAL, NAME, Rig, until
from support.syslog import Addresses


def raw_log() -> tuple[str, str]:
    """What two logs hold of the same session, one at level info, one at level error."""
    info, error = os.memfd_create("info"), os.memfd_create("error")
    shared = bytearray(struct.pack("=Q", 6))
    with Rig(log=[(info, 7), (error, 4)], engine={"connection_counter": shared}) as rig:
        client, auth = rig.ask()
        auth.send(b"HTTP/1.0 200 OK\r\n\r\n")
        assert client.rest() == INTERNAL
        rig.quiet()
    texts = []
    for log in (info, error):
        texts.append(os.pread(log, 100_000, 0).decode())
        os.close(log)
    return texts[0], texts[1]


def test_lines_read_like_nginxs() -> None:
    info, error = raw_log()
    date = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d"
    connected = rf"{date} \[info\] {os.getpid()}#0: \*7 client 127\.0\.0\.1:\d+ connected to {NAME}\n"
    failed = (
        rf"{date} \[error\] {os.getpid()}#0: \*7 auth http server 127\.0\.0\.1:\d+ did not send server "
        rf'or port while in http auth state, client: 127\.0\.0\.1, server: {NAME}, login: "user"\n'
    )
    assert re.fullmatch(connected + failed, info)
    assert re.fullmatch(failed, error)


def test_long_lines_are_cut() -> None:
    log = os.memfd_create("log")
    with Rig(log=[(log, 7)], client_buffer=8192) as rig:
        client = rig.client()
        client.send(b"a LOGIN " + b"u" * 4000 + b" pass\r\n")
        rig.asked().send(b"Auth-Status: no\r\n\r\n")
        assert client.rest() == b"a NO no\r\n" + BYE
        rig.quiet()
    lines = os.pread(log, 100_000, 0).splitlines(keepends=True)
    os.close(log)
    assert [len(line) for line in lines[1:]] == [2048]
    assert lines[1].endswith(b"u\n")


def test_passwords_are_never_logged() -> None:
    """At level debug, in every failure that has seen one."""
    secret = b"s3cret"
    says = [
        b"a LOGIN user " + secret + b"\r\n",
        b"a LOGIN user " + secret + b" x\r\n",
        b"a LOGIN user " + secret + b" x y z\r\n",
        b'a LOGIN user "' + secret + b"\r\n",
        b"a LOGIN user " + secret * 1000 + b"\r\n",
        b"a AUTHENTICATE PLAIN\r\n" + secret + b"!\r\n",
        b"a AUTHENTICATE PLAIN " + secret + b"!\r\n",
        b"a AUTHENTICATE PLAIN\r\n" + secret * 1000,
        b"a LOGIN {4+}\r\nuser {6+}\r\n" + secret + b"x\r\n",
        b"a LOGIN {4+}\r\nuser {9000+}\r\n" + secret * 1500,
    ]
    log = os.memfd_create("log")
    with Rig(log=[(log, 8)], auth_http_timeout=100) as rig:  # the auth server is silent
        for said in says:
            client = rig.client()
            client.send(said)
            client.shut()
            client.rest()
        rig.quiet()
    text = os.pread(log, 1_000_000, 0)
    os.close(log)
    assert text.count(b"\n") > len(says)
    assert secret not in text


def test_syslog_asks_the_next_address() -> None:
    """Of a name with several, from the one in use on. The other log names each that has been passed over."""
    log = os.memfd_create("log")
    with Addresses() as server, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        where = {"syslog": {syslog.fileno(): (server.all, 2, b"mx: ")}}
        with Rig(log=[(log, 7), (syslog.fileno(), 7)], engine=where) as rig:
            rig.client().close()
            until(lambda: os.pread(log, 100_000, 0).count(b"session ended") == 1)
            server.listen(1)
            for index in (1, 0):
                rig.client().close()
                assert "connected to" in server.receive(index)
                if index == 1:  # with the two that name the addresses
                    assert "4 log lines lost (111: Connection refused)" in server.receive(index)
                assert "session ended" in server.receive(index)
                server.refuse(index)
                server.listen(1 - index)
    text = os.pread(log, 100_000, 0).decode()
    os.close(log)
    refused = r"send\(\) failed \(111: Connection refused\) while logging to syslog, server: "
    named = re.findall(
        rf"\[error\] \d+#0: {refused}(127\.0\.0\.\d):{server.port}, trying next address\n", text
    )
    assert named == ["127.0.0.2", "127.0.0.1"]
