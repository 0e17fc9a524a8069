"""Certificates of ours that are not valid now: a warning each, and all works as before."""

from pathlib import Path

import pytest
from support.engine import until
from support.pki import PKI, Authority, Files, date

from fastmail.config import load
from fastmail.logs import Log
from fastmail.server.certificates import CertificateWatch


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PKI:
    return PKI(tmp_path_factory.mktemp("pki"))


def warnings(directory: Path, mail: str, server: str = "") -> list[tuple[str, str]]:
    (directory / "n.conf").write_text(
        f"events {{}} mail {{ auth_http 127.0.0.1:9; {mail} "
        f"server {{ listen 127.0.0.1:14311 ssl; protocol imap; {server} }}"
        f"server {{ listen 127.0.0.1:14312 ssl; protocol pop3; {server} }} }}"
    )
    return load("n.conf", prefix=str(directory)).messages


def own(files: Files) -> str:
    return f"ssl_certificate {files.certificate}; ssl_certificate_key {files.key};"


def test_valid(tmp_path: Path, pki: PKI) -> None:
    assert warnings(tmp_path, own(pki.server)) == []


def test_expired(tmp_path: Path, pki: PKI) -> None:
    """Both servers have it: one warning."""
    names = [f"mail{number}.test" for number in range(5)]
    files = pki.ca.issue("mail.test", names=names, days=(-9, -2), file="expired")
    who = f'"{files.certificate}" (mail0.test, mail1.test, mail2.test, 2 more)'
    text = f"certificate {who} expired on {date(-2)}"
    assert warnings(tmp_path, own(files)) == [("warn", text)]


def test_not_valid_yet(tmp_path: Path, pki: PKI) -> None:
    files = pki.ca.issue("mail.test", days=(2, 9), file="early")
    text = f'certificate "{files.certificate}" (mail.test) is not valid before {date(2)}'
    assert warnings(tmp_path, own(files)) == [("warn", text)]


def test_expired_in_the_chain(tmp_path: Path, pki: PKI) -> None:
    old = Authority(tmp_path, "old", pki.ca, days=(-9, -2))
    files = old.issue("mail.test", chain=[old])
    text = f'certificate "/C=US/O=Ex, Inc/CN=old" in "{files.certificate}" expired on {date(-2)}'
    assert warnings(tmp_path, own(files)) == [("warn", text)]


def test_data(tmp_path: Path, pki: PKI) -> None:
    files = pki.ca.issue("mail.test", days=(-9, -2), file="in-the-file")
    mail = f'ssl_certificate "data:{files.certificate.read_text()}"; ssl_certificate_key {files.key};'
    assert warnings(tmp_path, mail) == [("warn", f'certificate "data:" (mail.test) expired on {date(-2)}')]


@pytest.mark.parametrize("towards", ["proxy_ssl", "auth_http_ssl"])
def test_what_we_show_to_others(tmp_path: Path, pki: PKI, towards: str) -> None:
    files = pki.client_expired
    server = f"{towards}_certificate {files.certificate}; {towards}_certificate_key {files.key};"
    server += "proxy_ssl on;" if towards == "proxy_ssl" else "auth_http https://127.0.0.1:9/;"
    text = f'certificate "{files.certificate}" (client.test) expired on {date(-2)}'
    assert warnings(tmp_path, own(pki.server), server) == [("warn", text)]


def test_authorities_that_we_trust_are_not_ours(tmp_path: Path, pki: PKI) -> None:
    """A bundle may have old ones in it."""
    old = Authority(tmp_path, "old", days=(-9, -2))
    mail = f"{own(pki.server)} ssl_verify_client on; ssl_client_certificate {old.path};"
    assert warnings(tmp_path, mail) == []


def put(made: Files, files: Files) -> None:
    files.certificate.write_bytes(made.certificate.read_bytes())
    files.key.write_bytes(made.key.read_bytes())


def test_renewed_and_expired(tmp_path: Path, pki: PKI) -> None:
    old = pki.ca.issue("mail.test", days=(-9, -2), file="renewed")
    files = Files(tmp_path / "mail.crt", tmp_path / "mail.key")
    put(pki.server, files)
    mail = f"{own(files)} ssl_certificate_reload 1ms;"
    assert warnings(tmp_path, mail) == []
    log = tmp_path / "log"
    with log.open("w") as opened:
        watch = CertificateWatch(load("n.conf", prefix=str(tmp_path)).servers, Log([(opened.fileno(), 7)]))
        put(old, files)

        def look() -> bool:
            watch.look(lambda number, context: None)
            return log.read_text().count(" renewed") == 2

        until(look)
    lines = [line for line in log.read_text().splitlines() if "[warn]" in line]
    assert len(lines) == 1
    assert lines[0].endswith(f'certificate "{files.certificate}" (mail.test) expired on {date(-2)}')
