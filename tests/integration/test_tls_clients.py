"""Real mail clients over TLS, from the first byte and after STARTTLS; Dovecot and Postfix behind."""

import imaplib
import poplib
import smtplib
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import ports
from support.authserver import AuthServer, Request, answer
from support.dovecot import PASSWORD, Dovecot
from support.listener import Moves
from support.pki import PKI
from support.postfix import DOMAIN, Postfix
from support.processes import wait_for
from support.proxy import Proxy

USER = "alice"
ADDRESS = f"{USER}@{DOMAIN}"
MESSAGE = f"From: {ADDRESS}\r\nTo: {ADDRESS}\r\nSubject: hello\r\n\r\nüber\r\n"
PROTOCOLS = ("imap", "pop3", "smtp")
MODES = ("implicit", "starttls")
START = {"imap": "STARTTLS", "pop3": "STLS", "smtp": "STARTTLS"}


@dataclass
class House:
    """Ports of fastmail by protocol and mode; who was told of which login."""

    doors: dict[tuple[str, str], int]
    pki: PKI
    dovecot: Dovecot
    requests: list[Request]

    @property
    def ca(self) -> str:
        return str(self.pki.ca.path)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    pki = PKI(tmp_path_factory.mktemp("pki"))
    doors = {(protocol, mode): ports.reserve() for protocol in PROTOCOLS for mode in MODES}
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port}{' ssl' if mode == 'implicit' else ''}; protocol {protocol}; "
        f"starttls {'off' if mode == 'implicit' else 'only'}; }}\n"
        for (protocol, mode), port in doors.items()
    )
    with Dovecot([USER]) as dovecot, Postfix(dovecot, [USER]) as postfix:
        backends = {"imap": dovecot.imap, "pop3": dovecot.pop3, "smtp": postfix.submission}

        def judge(request: Request) -> Moves:
            return (answer("OK", port=backends[request.headers["auth-protocol"]]),)

        with AuthServer(judge) as auth:
            mail = (
                f"auth_http 127.0.0.1:{auth.port}/; proxy_smtp_auth on; xclient off; server_name mail.test;\n"
                f"ssl_certificate {pki.server.certificate}; ssl_certificate_key {pki.server.key};\n"
                f"ssl_verify_client optional; ssl_client_certificate {pki.ca.path};\n"
                "ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3; ssl_ciphers DEFAULT:@SECLEVEL=0;\n"
            )
            with Proxy("fastmail", mail + servers, list(doors.values())):
                yield House(doors, pki, dovecot, auth.requests)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def over_tls(house: House) -> Iterator[None]:
    """Whatever a test does: all logins were made in TLS."""
    before = len(house.requests)
    yield
    assert len(house.requests) > before
    assert {request.headers.get("auth-ssl") for request in house.requests[before:]} == {"on"}


def run(*command: str, stdin: str = "", home: Path | None = None) -> str:
    """What it printed; AssertionError if it failed."""
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(home or "/nonexistent")}
    result = subprocess.run(
        command, input=stdin.encode(), capture_output=True, timeout=30, env=environment
    )  # fmt: skip
    said = (result.stdout + result.stderr).decode("latin-1")
    assert result.returncode == 0, f"{command}: {said}"
    return said


# --- Python's clients ------------------------------------------------------------------------------


@pytest.fixture
def trusting(house: House) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=house.ca)


def test_imaplib(house: House, mode: str, trusting: ssl.SSLContext) -> None:
    port = house.doors["imap", mode]
    if mode == "implicit":
        client: imaplib.IMAP4 = imaplib.IMAP4_SSL("127.0.0.1", port, ssl_context=trusting, timeout=20)
    else:
        client = imaplib.IMAP4("127.0.0.1", port, 20)
        client.starttls(trusting)
    with client:
        client.login(USER, PASSWORD)
        assert client.select()[0] == "OK"


def test_poplib(house: House, mode: str, trusting: ssl.SSLContext) -> None:
    port = house.doors["pop3", mode]
    if mode == "implicit":
        client: poplib.POP3 = poplib.POP3_SSL("127.0.0.1", port, context=trusting, timeout=20)
    else:
        client = poplib.POP3("127.0.0.1", port, 20)
        client.stls(trusting)
    client.user(USER)
    client.pass_(PASSWORD)
    assert client.stat()[0] >= 0
    client.quit()


def test_smtplib(house: House, mode: str, trusting: ssl.SSLContext) -> None:
    port = house.doors["smtp", mode]
    if mode == "implicit":
        client: smtplib.SMTP = smtplib.SMTP_SSL("127.0.0.1", port, "me.test", timeout=20, context=trusting)
    else:
        client = smtplib.SMTP("127.0.0.1", port, "me.test", timeout=20)
        client.starttls(context=trusting)
    with client:
        client.login(USER, PASSWORD)
        assert client.sendmail(ADDRESS, [ADDRESS], MESSAGE.encode()) == {}


# --- curl ------------------------------------------------------------------------------------------


def curl(house: House, protocol: str, mode: str, *more: str, path: str = "") -> str:
    scheme, force = (f"{protocol}s", []) if mode == "implicit" else (protocol, ["--ssl-reqd"])
    url = f"{scheme}://127.0.0.1:{house.doors[protocol, mode]}/{path}"
    return run("curl", "-sS", "--cacert", house.ca, "-u", f"{USER}:{PASSWORD}", *force, url, *more)


@pytest.mark.parametrize("version", ["--tlsv1.3", "--tls-max=1.2"])
def test_curl(house: House, mode: str, version: str, tmp_path: Path) -> None:
    versions = version.split("=")
    assert "INBOX" in curl(house, "imap", mode, *versions)
    curl(house, "pop3", mode, *versions)
    data = tmp_path / "message"
    data.write_text(MESSAGE)
    send = ["--mail-from", ADDRESS, "--mail-rcpt", ADDRESS, "-T", str(data)]
    curl(house, "smtp", mode, *versions, *send, path="me.test")
    name = {"--tlsv1.3": "TLSv1.3", "--tls-max=1.2": "TLSv1.2"}[version]
    assert {request.headers["auth-ssl-protocol"] for request in house.requests[-3:]} == {name}


def test_curl_shows_its_certificate(house: House, mode: str) -> None:
    own = house.pki.client
    assert "INBOX" in curl(house, "imap", mode, "--cert", str(own.certificate), "--key", str(own.key))
    headers = house.requests[-1].headers
    assert headers["auth-ssl-verify"] == "SUCCESS"
    assert headers["auth-ssl-subject"] == r"CN=client.test,O=Ex\, Inc,C=US"


# --- openssl s_client ------------------------------------------------------------------------------

PLAIN = b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
TALK = {
    "imap": f'a LOGIN {USER} "{PASSWORD}"\r\nb LOGOUT\r\n',
    "pop3": f"USER {USER}\r\nPASS {PASSWORD}\r\nQUIT\r\n",
    "smtp": f"EHLO me.test\r\nAUTH PLAIN {PLAIN}\r\nQUIT\r\n",
}
SAID = {"imap": "b OK Logout completed", "pop3": "+OK Logging out", "smtp": "221 2.0.0 Bye"}


VERSIONS = {"-tls1": "TLSv1", "-tls1_1": "TLSv1.1", "-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"}


@pytest.mark.parametrize("version", list(VERSIONS))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_s_client(house: House, mode: str, protocol: str, version: str) -> None:
    start = ["-starttls", protocol] if mode == "starttls" else []
    said = run(
        "openssl", "s_client", "-connect", f"127.0.0.1:{house.doors[protocol, mode]}", "-CAfile", house.ca,
        "-verify_return_error", "-quiet", "-ign_eof", version, "-cipher", "DEFAULT:@SECLEVEL=0", *start,
        stdin=TALK[protocol],
    )  # fmt: skip
    assert SAID[protocol] in said
    assert house.requests[-1].headers["auth-ssl-protocol"] == VERSIONS[version]


# --- what people use -------------------------------------------------------------------------------


def test_mbsync(house: House, mode: str, tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    configuration = tmp_path / "mbsyncrc"
    configuration.write_text(
        f"IMAPAccount a\nHost localhost\nPort {house.doors['imap', mode]}\nUser {USER}\n"
        f'Pass "{PASSWORD}"\nSSLType {"IMAPS" if mode == "implicit" else "STARTTLS"}\n'
        f"CertificateFile {house.ca}\nAuthMechs LOGIN\n\n"
        f"IMAPStore far\nAccount a\n\nMaildirStore near\nPath {tmp_path}/mail/\n"
        f"Inbox {tmp_path}/mail/INBOX\n\n"
        f"Channel c\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Both\nSyncState {tmp_path}/\n"
    )
    run("mbsync", "-c", str(configuration), "c", home=tmp_path)
    assert (tmp_path / "mail/INBOX").is_dir()


def test_fetchmail(house: House, mode: str, tmp_path: Path) -> None:
    """With a message to fetch: without one it says so by its exit status."""
    with smtplib.SMTP_SSL(
        "127.0.0.1", house.doors["smtp", "implicit"], "me.test", timeout=20,
        context=ssl.create_default_context(cafile=house.ca),
    ) as client:  # fmt: skip
        client.login(USER, PASSWORD)
        before = len(house.dovecot.messages(USER))
        client.sendmail(ADDRESS, [ADDRESS], MESSAGE.encode())
    wait_for("delivery", lambda: len(house.dovecot.messages(USER)) > before)
    configuration = tmp_path / "fetchmailrc"
    secure = "ssl" if mode == "implicit" else "sslproto TLS1+"
    configuration.write_text(
        f"set invisible\npoll localhost protocol pop3 port {house.doors['pop3', mode]} auth password\n"
        f'  user "{USER}" password "{PASSWORD}" {secure} sslcertck sslcertfile {house.ca}\n'
        f'  fetchall keep norewrite mda "cat >> {tmp_path}/fetched"\n'
    )
    configuration.chmod(0o600)
    run("fetchmail", "--pidfile", f"{tmp_path}/pid", "-f", str(configuration), home=tmp_path)  # one at a time
    assert "Subject: hello" in (tmp_path / "fetched").read_text("utf-8", "replace")


def send_msmtp(house: House, mode: str) -> None:
    run(
        "msmtp", "--host=127.0.0.1", f"--port={house.doors['smtp', mode]}", "--domain=me.test", "--tls=on",
        f"--tls-starttls={'off' if mode == 'implicit' else 'on'}", f"--tls-trust-file={house.ca}",
        "--auth=plain", f"--user={USER}", f"--passwordeval=echo '{PASSWORD}'", f"--from={ADDRESS}", ADDRESS,
        stdin=MESSAGE,
    )  # fmt: skip


def send_swaks(house: House, mode: str) -> None:
    run(
        "swaks", "--server", "127.0.0.1", "--port", str(house.doors["smtp", mode]), "--helo", "me.test",
        "--tls-on-connect" if mode == "implicit" else "--tls", "--tls-verify", "--tls-ca-path", house.ca,
        "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD,
        "--from", ADDRESS, "--to", ADDRESS,
    )  # fmt: skip


@pytest.mark.parametrize("send", [send_msmtp, send_swaks])
def test_send(house: House, mode: str, send: Callable[[House, str], None]) -> None:
    send(house, mode)
    assert house.requests[-1].headers["auth-user"] == USER
