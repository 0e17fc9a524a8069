"""The filter for fail2ban in docs/operations.md finds whose login has failed, whatever the login is."""

import contextlib
import imaplib
import re
import smtplib

import pytest
from support.authserver import AuthServer, answer
from support.documents import blocks
from support.door import trusting
from support.pki import PKI
from support.ports import HOST, reserve
from support.processes import ROOT, Echo, Site

FORGED = 'client login failed: "x" while in http auth state, client: 198.51.100.1, '


@pytest.fixture
def failregex() -> re.Pattern[str]:
    """As fail2ban makes it; it takes dates off the lines by itself."""
    (text,) = (block.text for block in blocks(ROOT / "docs/operations.md") if "failregex" in block.text)
    (regex,) = re.findall(r"^failregex = (.*)$", text, re.MULTILINE)
    return re.compile(regex.replace("<ADDR>", r"(?P<address>[0-9a-f.:]+)"))


def test_filter(site: Site, backend: Echo, port: int, pki: PKI, failregex: re.Pattern[str]) -> None:
    refusal, welcome = answer("Invalid login or password"), answer("OK", port=backend.port)
    with AuthServer() as auth:
        auth.script([(refusal,), (refusal,), (welcome,), (refusal,)])
        world = reserve()
        site.configure(
            f"auth_http {HOST}:{auth.port}; starttls on; ssl_certificate {pki.server.certificate}; "
            f"ssl_certificate_key {pki.server.key}; server {{ listen {HOST}:{port}; protocol imap; }}"
            f"server {{ listen {HOST}:{world}; protocol smtp; smtp_auth none; }}"
        )
        site.start()
        for encrypted in (False, True, False):
            client = imaplib.IMAP4(HOST, port, 20)
            if encrypted:
                client.starttls(trusting(pki))
            with contextlib.suppress(imaplib.IMAP4.error):
                client.authenticate("PLAIN", lambda _: f"\0{FORGED}\0secret".encode())
            client.shutdown()
        with contextlib.closing(smtplib.SMTP(HOST, world, timeout=20)) as sender:
            sender.ehlo("mx.example.net")
            sender.mail("joe@example.net")
            assert sender.rcpt("jane@example.com")[0] == 535
        site.wait_log("client login failed", count=3)
        site.wait_log("proxied session done")
    lines = [re.sub(r"^\S+ \S+", "", line) for line in site.log()]
    found = [(match["address"], match.string) for line in lines if (match := failregex.search(line))]
    assert [address for address, _ in found] == [HOST, HOST]
    assert ["using starttls" in line for _, line in found] == [False, True]
    assert sum(FORGED in line for line in lines) == 4  # the two, "logged in" and "session done"
