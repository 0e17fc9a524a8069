"""The demo: its backends answer real clients, and the whole of it runs from the command line."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import imaplib
import os
import poplib
import signal
import smtplib
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from support.ports import listening
from support.processes import wait_for

from fastmail.demo.backend import Backend, Session
from fastmail.demo.imap import ImapSession
from fastmail.demo.mailbox import ADDRESS, PASSWORD, USER, Store, sample_store
from fastmail.demo.pop3 import Pop3Session
from fastmail.demo.smtp import SmtpSession
from fastmail.demo.tour import SENT_SUBJECT

SESSIONS: dict[str, type[Session]] = {"imap": ImapSession, "pop3": Pop3Session, "smtp": SmtpSession}

ANY_PORTS = ("--ports", "0,0,0", "--tls-ports", "0,0,0")

LETTER = b"Subject: dots\r\n\r\n.\r\n..two\r\nbare\nLF\r\n" + b"x" * 998 + b"\r\n\xe4\xf6\r\n"


class Backends:
    """The three backends around one store, on a thread with its own loop."""

    def __init__(self) -> None:
        self.store: Store = sample_store()
        self.ports: dict[str, int] = {}
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            for name, session in SESSIONS.items():
                backend = await stack.enter_async_context(Backend(session, self.store))
                self.ports[name] = backend.port
            self._ready.set()
            await self._stop.wait()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def backends() -> Iterator[Backends]:
    backends = Backends()
    backends.start()
    try:
        yield backends
    finally:
        backends.stop()


@pytest.fixture
def imap(backends: Backends) -> Iterator[imaplib.IMAP4]:
    with imaplib.IMAP4("127.0.0.1", backends.ports["imap"], timeout=10) as client:
        client.login(USER, PASSWORD)
        yield client


def fetched(client: imaplib.IMAP4, number: str, item: str) -> bytes:
    """The literal that FETCH answers with."""
    answer = client.fetch(number, item)[1][0]
    assert isinstance(answer, tuple)
    return answer[1]


def test_a_message_sent_is_read_by_imap_and_pop3_byte_for_byte(
    backends: Backends, imap: imaplib.IMAP4
) -> None:
    with socket.create_connection(("127.0.0.1", backends.ports["smtp"]), 10) as smtp:
        lines = smtp.makefile("rb")
        smtp.sendall(b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
        while not lines.readline().startswith(b"354"):
            pass
        smtp.sendall(LETTER.replace(b"\r\n.", b"\r\n..") + b".\r\nQUIT\r\n")
        assert lines.read() == b"250 2.0.0 Delivered\r\n221 2.0.0 Bye\r\n"
        lines.close()
    expected = b"Return-Path: <a@example.com>\r\n" + LETTER

    imap.select()
    assert fetched(imap, "4", "(RFC822)") == expected

    pop3 = poplib.POP3("127.0.0.1", backends.ports["pop3"], timeout=10)
    pop3.user(USER)
    pop3.pass_(PASSWORD)
    # poplib takes bare LF for a line end: compare what it makes of both.
    assert b"\n".join(pop3.retr(4)[1]) == expected.replace(b"\r\n", b"\n").rstrip(b"\n")
    pop3.quit()


def test_smtplib_delivers_and_a_waiting_imap_client_is_told(backends: Backends, imap: imaplib.IMAP4) -> None:
    imap.select()
    imap.send(b"i1 IDLE\r\n")
    assert imap.readline() == b"+ idling\r\n"
    with smtplib.SMTP("127.0.0.1", backends.ports["smtp"], timeout=10) as smtp:
        smtp.sendmail(ADDRESS, [ADDRESS], "Subject: news\r\n\r\nHi\r\n")
    assert imap.readline() == b"* 4 EXISTS\r\n"
    imap.send(b"DONE\r\n")
    assert imap.readline() == b"i1 OK IDLE completed\r\n"


def test_imap_search_store_copy_and_expunge(imap: imaplib.IMAP4) -> None:
    imap.select()
    assert imap.search(None, "UNSEEN")[1] == [b"2 3"]
    assert imap.search(None, "SUBJECT", '"With an"', "NOT", "LARGER", "100000")[1] == [b"3"]
    assert imap.uid("SEARCH", "OR", "UID", "1", "(SEEN 2:*)")[1] == [b"1"]
    assert imap.store("1,3", "+FLAGS", r"(\Deleted)")[1] == [
        rb"1 (FLAGS (\Deleted \Seen))",
        rb"3 (FLAGS (\Deleted))",
    ]
    assert imap.copy("2:3", "Trash")[0] == "OK"
    assert imap.expunge()[1] == [b"3", b"1"]
    assert imap.status("Trash", "(MESSAGES UNSEEN)")[1] == [b'"Trash" (MESSAGES 2 UNSEEN 2)']
    assert imap.copy("1", "Nowhere")[0] == "NO"


def test_imap_structure_and_sections_of_a_multipart_message(imap: imaplib.IMAP4) -> None:
    imap.select(readonly=True)
    structure = imap.fetch("3", "(BODYSTRUCTURE)")[1][0]
    assert isinstance(structure, bytes)
    assert b'("TEXT" "PLAIN" ("charset" "utf-8") NIL NIL "7bit" 24 1 NIL NIL NIL NIL)' in structure
    assert b'("attachment" ("filename" "ports.csv"))' in structure
    csv = b"protocol,port\r\nimap,143\r\npop3,110\r\nsmtp,25\r\n"
    assert fetched(imap, "3", "(BODY.PEEK[2])") == csv
    assert fetched(imap, "3", "(BODY.PEEK[2]<3.5>)") == csv[3:8]
    assert (
        fetched(imap, "3", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])") == b"Subject: With an attachment\r\n\r\n"
    )
    envelope = imap.fetch("1", "ENVELOPE")[1][0]
    assert isinstance(envelope, bytes)
    assert b'"Welcome" (("fastmail demo" NIL "demo" "example.com"))' in envelope


def test_imap_append_keeps_flags_date_and_bytes(imap: imaplib.IMAP4) -> None:
    assert imap.append("Drafts", r"(\draft)", '"01-Feb-2026 10:00:00 +0100"', LETTER)[0] == "OK"
    imap.select("Drafts")
    assert imap.fetch("1", "(FLAGS INTERNALDATE)")[1] == [
        rb'1 (FLAGS (\Draft) INTERNALDATE "01-Feb-2026 09:00:00 +0000")'
    ]
    assert fetched(imap, "1", "(RFC822)") == LETTER.replace(b"bare\nLF", b"bare\r\nLF")


def test_imap_login_with_literals_and_a_wrong_password(backends: Backends) -> None:
    with socket.create_connection(("127.0.0.1", backends.ports["imap"]), 10) as client:
        lines = client.makefile("rb")
        lines.readline()
        client.sendall(b'a LOGIN "user" "no"\r\n')
        assert lines.readline().startswith(b"a NO [AUTHENTICATIONFAILED]")
        client.sendall(b"b LOGIN {4}\r\n")
        assert lines.readline().startswith(b"+")
        client.sendall(b'user {4+}\r\npass\r\nc LOGIN "us\\er" pass\r\n')
        assert lines.readline().startswith(b"b OK")
        lines.close()


def test_pop3_deletes_at_quit_and_only_then(backends: Backends) -> None:
    def login() -> poplib.POP3:
        client = poplib.POP3("127.0.0.1", backends.ports["pop3"], timeout=10)
        client.user(USER)
        client.pass_(PASSWORD)
        return client

    first = login()
    first.dele(1)
    assert first.list()[1][0].startswith(b"2 ")
    first.rset()
    first.dele(2)
    assert len(backends.store.inbox.messages) == 3
    first.quit()
    second = login()
    assert [line.split()[1] for line in second.uidl()[1]] == [b"1", b"3"]
    assert second.top(1, 0)[1][-1] == b""
    with pytest.raises(poplib.error_proto, match="no such message"):
        second.retr(3)
    second.quit()


@contextlib.contextmanager
def demo(*arguments: str, directory: Path, output: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """The demo as a process of its own, with ``directory`` for its temporary files."""
    with subprocess.Popen(
        [sys.executable, "-m", "fastmail", "demo", *arguments],
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a whole group, so that Ctrl-C can be sent as a terminal does
        env=dict(os.environ, TMPDIR=str(directory)),
    ) as process:
        try:
            yield process
        finally:
            process.terminate()  # does nothing if it has ended


def test_demo_check_shows_a_login_and_exits_0(tmp_path: Path) -> None:
    with demo("--check", *ANY_PORTS, directory=tmp_path) as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    lines = [" ".join(line.split()[1:]) for line in output.splitlines()]
    login = [
        f"IMAP client -> fastmail a1 LOGIN {USER} {PASSWORD}",
        f"IMAP fastmail -> auth GET /auth Auth-Method: plain Auth-User: {USER} Auth-Pass: {PASSWORD}"
        " Auth-Protocol: imap Auth-Login-Attempt: 1 Client-IP: 127.0.0.1",
        f'IMAP fastmail -> backend a1 LOGIN "{USER}" "{PASSWORD}"',
        "IMAP client -> backend a2 EXAMINE INBOX",  # relayed, and shown once
    ]
    assert [line for line in lines if line in login] == login
    for said in ("SMTP fastmail -> client 235 2.0.0 OK", f"POP3 client -> fastmail PASS {PASSWORD}"):
        assert said in lines
    assert any(line.startswith("IMAP log [info] *2 client logged in, client: 127.0.0.1") for line in lines)
    # Once as sent by SMTP, then as read by IMAP and by POP3.
    assert sum(line.endswith(f" Subject: {SENT_SUBJECT}") for line in lines) == 3


def test_demo_serves_the_curl_lines_it_prints_until_ctrl_c_and_leaves_nothing(tmp_path: Path) -> None:
    with demo(*ANY_PORTS, directory=tmp_path) as process:
        assert process.stdout is not None and process.stderr is not None
        commands = []
        for line in process.stdout:
            if "curl " in line:
                commands.append(line.split(maxsplit=1)[1])
            if line.startswith("Running"):
                break
        port = int(commands[0].split(":")[-1].split("/")[0])
        drain = threading.Thread(target=process.stdout.read)
        drain.start()
        assert len(commands) == 4  # one of them by TLS, with the demo's certificate
        for command in commands:
            quiet = command.strip().replace("curl ", "curl -sS ")
            curl = subprocess.run(quiet, shell=True, capture_output=True, timeout=30)
            assert curl.returncode == 0, curl.stderr
        with imaplib.IMAP4("127.0.0.1", port, timeout=10) as client:
            client.login(USER, PASSWORD)
            # Three to begin with, one sent as proof, one by curl.
            assert client.select()[1] == [b"5"]
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
        drain.join()
    assert not listening(port)
    assert os.listdir(tmp_path) == []


def test_demo_check_that_is_interrupted_has_not_succeeded(tmp_path: Path) -> None:
    """Held back in what it prints before the first login: its output has room for little more."""
    read, write = os.pipe()
    room = fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    filled = os.write(write, b"x" * (room - 100))
    with demo("--check", *ANY_PORTS, directory=tmp_path, output=write) as process:
        os.close(write)
        wait_for("a first line", lambda: waiting_bytes(read) > filled)
        process.send_signal(signal.SIGINT)
        with open(read, "rb") as output:
            output.read()
        assert process.wait(30) == 1
    assert os.listdir(tmp_path) == []


def waiting_bytes(fd: int) -> int:
    return struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP])
def test_demo_takes_the_proxy_along_whatever_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    with demo(*ANY_PORTS, directory=tmp_path) as process:
        assert process.stdout is not None
        lines = iter(process.stdout)
        port = next(int(line.split()[3]) for line in lines if "nc -C" in line)
        assert any(line.startswith("Running") for line in lines)
        process.send_signal(number)
        assert process.wait(30) == 0
    assert not listening(port)
    assert os.listdir(tmp_path) == []


def test_demo_names_the_port_that_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with demo("--check", "--ports", f"{port},0,0", "--tls-ports", "0,0,0", directory=tmp_path) as process:
            output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "")
    assert errors.startswith(
        f"fastmail demo: cannot listen on 127.0.0.1:{port} for imap: Address already in use"
    )
    assert errors.count("\n") == 1


def test_demo_says_that_it_cannot_print(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fastmail", "demo", "--check", *ANY_PORTS]
    environment = dict(os.environ, TMPDIR=str(tmp_path))
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=environment
        )
    assert result.returncode == 1
    assert result.stderr == "fastmail demo: cannot write to standard output: No space left on device\n"
    assert os.listdir(tmp_path) == []
