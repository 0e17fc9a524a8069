"""Mail sent through the proxy to a real Postfix and read through it from a real Dovecot, by real clients."""

import contextlib
import imaplib
import itertools
import poplib
import random
import re
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.dovecot import PASSWORD
from support.mailhouse import CLIENT, DOORS, OPEN_DOORS, SENDER, MailHouse, trace_of, without_trace
from support.postfix import DOMAIN

HELO = "client.example"
LARGE = 30_000_000
MECHANISMS = ["PLAIN", "LOGIN", "CRAM-MD5"]


@pytest.fixture(scope="module")
def house(proxy_kind: str) -> Iterator[MailHouse]:
    with MailHouse(proxy_kind) as house:
        yield house


def message(body: bytes) -> bytes:
    """A message with all headers that a client would otherwise add."""
    return (
        f"From: {SENDER}\r\nTo: someone@{DOMAIN}\r\nSubject: a test\r\n"
        f"Date: Mon, 23 Nov 2026 08:00:00 +0000\r\nMessage-ID: <1@{HELO}>\r\n\r\n"
    ).encode() + body


def octets(size: int) -> bytes:
    """A line's content: all bytes but CR, LF, NUL, and the two that swaks substitutes."""
    alphabet = bytes(byte for byte in range(1, 256) if byte not in b"\r\n%\\")
    return bytes(random.Random(size).choices(alphabet, k=size))


def base64_lines(size: int) -> bytes:
    """What an attachment of about so many bytes looks like."""
    line = bytes(random.Random(size).choices(b"ABCDEFGHabcdefgh01234567+/", k=76)) + b"\r\n"
    return line * (size // len(line))


BODIES = {
    "empty": b"",
    "empty lines": b"\r\n\r\n\r\n",
    "lone dots": b".\r\n..\r\n.\r\n\r\n.\r\n",
    "leading dots": b".a\r\n..b\r\n...c\r\n.\r\n. \r\n",
    "lines of 998 bytes": b"".join(octets(998) + b"\r\n" for _ in range(30)),
    "long lines of dots": (b"." * 997 + b"\r\n") * 5,
    "8-bit": bytes(range(128, 256)) + "\r\nGrüße, 你好\r\n".encode(),
    "From_": b"From here\r\n>From there\r\n",
    "a few kB": b"".join(octets(size) + b"\r\n" for size in range(1, 120)),
}
EVERYTHING = message(b"".join(BODIES.values()))


def run(*command: str, stdin: bytes = b"", environment: dict[str, str] | None = None) -> None:
    """A client program has to succeed."""
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, (done.stdout[-2000:] + done.stderr[-2000:]).decode("latin-1")


# Sending: each takes the port, the login or None, the recipient's name and the message.


def send_smtplib(port: int, login: tuple[str, str] | None, user: str, text: bytes, _: Path) -> None:
    with smtplib.SMTP("127.0.0.1", port, HELO, 60, source_address=(CLIENT, 0)) as client:
        client.ehlo()
        if login:
            mechanism, client.user = login
            client.password = PASSWORD
            client.auth(mechanism, getattr(client, f"auth_{mechanism.lower().replace('-', '_')}"))
        client.sendmail(SENDER, [f"{user}@{DOMAIN}"], text)


def send_swaks(port: int, login: tuple[str, str] | None, user: str, text: bytes, directory: Path) -> None:
    data = directory / "data"
    data.write_bytes(text.removesuffix(b"\r\n"))  # swaks ends the last line itself
    auth = ["--auth", login[0], "--auth-user", login[1], "--auth-password", PASSWORD] if login else []
    run("swaks", "--server", "127.0.0.1", "--port", str(port), "--local-interface", CLIENT, "--helo", HELO,
        "--from", SENDER, "--to", f"{user}@{DOMAIN}", *auth, "--data", f"@{data}", "--hide-all")  # fmt: skip


def send_msmtp(port: int, login: tuple[str, str] | None, user: str, text: bytes, _: Path) -> None:
    auth = [f"--auth={login[0].lower()}", f"--user={login[1]}"] if login else ["--auth=off"]
    run("msmtp", "--host=127.0.0.1", f"--port={port}", f"--source-ip={CLIENT}", f"--domain={HELO}",
        "--tls=off", f"--from={SENDER}", *auth, f"--passwordeval=echo '{PASSWORD}'", f"{user}@{DOMAIN}",
        stdin=text.replace(b"\r\n", b"\n"))  # fmt: skip


Sender = Callable[[int, tuple[str, str] | None, str, bytes, Path], None]
SENDERS: dict[str, Sender] = {"smtplib": send_smtplib, "swaks": send_swaks, "msmtp": send_msmtp}


# Reading: each takes the house and the user, and gives the messages in the inbox in order.


def read_poplib(house: MailHouse, user: str, _: Path) -> list[bytes]:
    client = poplib.POP3("127.0.0.1", house.pop3, timeout=60)
    client.user(user)
    client.pass_(PASSWORD)
    texts = [b"\r\n".join(client.retr(number + 1)[1]) + b"\r\n" for number in range(client.stat()[0])]
    client.quit()
    return texts


def read_imaplib(house: MailHouse, user: str, _: Path) -> list[bytes]:
    with imaplib.IMAP4("127.0.0.1", house.imap, timeout=60) as client:
        client.login(user, PASSWORD)
        client.select(readonly=True)
        return [item[1] for item in client.fetch("1:*", "(BODY.PEEK[])")[1] if isinstance(item, tuple)]


def read_curl(house: MailHouse, user: str, directory: Path, *, url: str) -> list[bytes]:
    texts = []
    for number in range(1, len(house.dovecot.messages(user)) + 1):
        output = directory / "read"
        run("curl", "-sS", "--user", f"{user}:{PASSWORD}", "--output", str(output), f"{url}{number}")
        texts.append(output.read_bytes())
    return texts


def read_curl_pop3(house: MailHouse, user: str, directory: Path) -> list[bytes]:
    return read_curl(house, user, directory, url=f"pop3://127.0.0.1:{house.pop3}/")


def read_curl_imap(house: MailHouse, user: str, directory: Path) -> list[bytes]:
    return read_curl(house, user, directory, url=f"imap://127.0.0.1:{house.imap}/INBOX;MAILINDEX=")


def read_fetchmail(house: MailHouse, user: str, directory: Path) -> list[bytes]:
    """fetchmail hands over lines that end in LF."""
    home = directory / "fetchmail"
    home.mkdir()
    configuration = home / "fetchmailrc"
    configuration.write_text(
        "set invisible\n"
        f'poll 127.0.0.1 protocol pop3 port {house.pop3} auth password user "{user}" password "{PASSWORD}"\n'
        f"  sslproto '' fetchall keep norewrite mda \"cat > {home}/$(ls {home} | wc -l)\"\n"
    )
    configuration.chmod(0o600)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "FETCHMAILHOME": str(home), "LC_ALL": "C"}
    before = set(home.iterdir())
    run("fetchmail", "-f", str(configuration), environment=environment)
    fetched = sorted((path for path in home.iterdir() if path.name.isdigit() and path not in before),
                     key=lambda path: int(path.name))  # fmt: skip
    return [path.read_bytes().replace(b"\n", b"\r\n") for path in fetched]


Reader = Callable[[MailHouse, str, Path], list[bytes]]
READERS: dict[str, Reader] = {
    "poplib": read_poplib,
    "imaplib": read_imaplib,
    "curl pop3": read_curl_pop3,
    "curl imap": read_curl_imap,
    "fetchmail": read_fetchmail,
}


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("client", SENDERS)
@pytest.mark.parametrize("name", DOORS)
def test_login_and_send(house: MailHouse, name: str, client: str, mechanism: str, tmp_path: Path) -> None:
    user = house.user()
    SENDERS[client](house.smtp[name], (mechanism, user), user, EVERYTHING, tmp_path)
    assert house.methods[-1] == ("cram-md5" if mechanism == "CRAM-MD5" else "plain")
    house.delivered(user)
    (read,) = read_poplib(house, user, tmp_path)
    assert without_trace(read) == EVERYTHING
    # Postfix has been told who sent it as far as the configuration says so.
    door = DOORS[name]
    trace = trace_of(read)
    assert (f"(Authenticated sender: {user})" in trace) == door.login
    name, address = (HELO, CLIENT) if door.trusted else ("proxy.example", "127.0.0.1")
    assert f"from {name} (unknown [{address}])" in trace


@pytest.mark.parametrize("client", SENDERS)
@pytest.mark.parametrize("name", OPEN_DOORS)
def test_send_without_login(house: MailHouse, name: str, client: str, tmp_path: Path) -> None:
    user = house.user()
    SENDERS[client](house.smtp[name], None, user, EVERYTHING, tmp_path)
    assert house.methods[-1] == "none"
    house.delivered(user)
    (read,) = read_imaplib(house, user, tmp_path)
    assert without_trace(read) == EVERYTHING
    expected = f"from {HELO} (unknown [{CLIENT}])" if OPEN_DOORS[name].trusted else "from proxy.example ("
    assert expected in trace_of(read)
    # Sender and recipient went out in one group. Postfix looks whether anything came together that must not.
    assert "improper command pipelining" not in house.postfix.log()


@pytest.fixture(scope="module")
def reader_user(house: MailHouse, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Somebody who has been sent each of BODIES, the clients taking turns."""
    user = house.user()
    senders = itertools.cycle(SENDERS.values())
    doors = itertools.cycle(DOORS)
    for count, body in enumerate(BODIES.values(), 1):
        directory = tmp_path_factory.mktemp("send")
        next(senders)(house.smtp[next(doors)], ("PLAIN", user), user, message(body), directory)
        house.delivered(user, count)
    return user


@pytest.mark.parametrize("reader", READERS)
def test_read(house: MailHouse, reader_user: str, reader: str, tmp_path: Path) -> None:
    read = READERS[reader](house, reader_user, tmp_path)
    assert dict(zip(BODIES, map(without_trace, read), strict=True)) == {
        name: message(body) for name, body in BODIES.items()
    }


@pytest.mark.parametrize("client", SENDERS)
def test_large_attachment(house: MailHouse, client: str, tmp_path: Path) -> None:
    user = house.user()
    text = message(b".\r\n" + base64_lines(LARGE))
    SENDERS[client](house.smtp["xclient"], ("PLAIN", user), user, text, tmp_path)
    house.delivered(user)
    for reader in READERS.values():
        (read,) = reader(house, user, tmp_path)
        assert without_trace(read) == text


def test_curl_sends(house: MailHouse, tmp_path: Path) -> None:
    user = house.user()
    sent = tmp_path / "sent"
    sent.write_bytes(EVERYTHING)
    url = f"smtp://127.0.0.1:{house.smtp['xclient']}/{HELO}"
    run("curl", "-sS", "--user", f"{user}:{PASSWORD}", "--upload-file", str(sent),
        "--mail-from", SENDER, "--mail-rcpt", f"{user}@{DOMAIN}", url)  # fmt: skip
    (delivered,) = house.delivered(user)
    assert without_trace(delivered) == EVERYTHING.replace(b"\r\n", b"\n")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_wrong_password_sends_nothing(house: MailHouse, mechanism: str) -> None:
    user = house.user()
    # Not smtplib's own "with": its QUIT would find the 421 that announces the end.
    with contextlib.closing(smtplib.SMTP("127.0.0.1", house.smtp["auth"], timeout=60)) as client:
        client.user, client.password = user, "wrong"
        client.ehlo()
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            client.auth(mechanism, getattr(client, f"auth_{mechanism.lower().replace('-', '_')}"))
        assert refused.value.args == (535, b"5.7.0 Invalid login or password")


def test_refused_recipient_is_postfix_own_word(house: MailHouse) -> None:
    with (
        smtplib.SMTP("127.0.0.1", house.smtp["none"], timeout=60) as client,
        pytest.raises(smtplib.SMTPRecipientsRefused) as refused,
    ):
        client.sendmail(SENDER, [f"nobody@{DOMAIN}"], EVERYTHING)
    ((code, text),) = refused.value.recipients.values()
    assert code == 550
    assert re.search(b"Recipient address rejected: User unknown", text)
