"""Certificates: which one of several is served, and renewed ones, taken without a reload."""

import contextlib
import ssl
from pathlib import Path

import pytest
from support.door import V2, Door, trusting
from support.pki import Files
from support.processes import USER, wait_for


@pytest.mark.parametrize("name", ["one.test", "two.test", "a.wild.test", "ONE.test"])
def test_several_certificates_of_one_type_are_chosen_by_name(door: Door, name: str) -> None:
    issue = door.pki.ca.issue
    lists = [["one.test"], ["two.test"], ["*.wild.test"], ["last.test"]]
    all_files = [issue(names[0].replace("*", "x"), names=names) for names in lists]
    door.open(
        certificate="".join(
            f"ssl_certificate {files.certificate}; ssl_certificate_key {files.key};\n" for files in all_files
        )
    )
    assert door.greeting(trusting(door.pki), name) == b"* OK IMAP4 ready\r\n"
    # who names nothing, or nobody, gets the last
    context = trusting(door.pki)
    context.check_hostname = False
    for nobody in (None, "nobody.test", "b.a.wild.test", "wild.test"):
        with door.connect(context, nobody) as peer:
            certificate = peer.getpeercert()
            assert certificate is not None and certificate["subjectAltName"] == (("DNS", "last.test"),)


# --- renewed certificates --------------------------------------------------------------------------


def serial(door: Door) -> int:
    """Of the certificate that is served now."""
    with door.connect(trusting(door.pki)) as peer:
        certificate = peer.getpeercert()
        assert certificate is not None
        return int(str(certificate["serialNumber"]), 16)


@pytest.fixture(params=["workers", "single process"])
def renewing(request: pytest.FixtureRequest, door: Door, tmp_path: Path) -> Path:
    """Where ``mail.crt`` and ``mail.key`` are, links as certbot makes them; only we can read the key."""
    tmp_path.chmod(0o755)
    first = door.pki.ca.issue("mail.test", names=["mail.test"], file="first")
    link(tmp_path, first)
    single = request.param != "workers"
    door.site.configure(
        f"auth_http 127.0.0.1:{door.auth.port}/auth; server {{ listen 127.0.0.1:{door.port} ssl; "
        f"protocol imap; ssl_certificate {tmp_path}/mail.crt; ssl_certificate_key {tmp_path}/mail.key; "
        "ssl_certificate_reload 50ms; }",
        main="master_process off;" if single else USER,
        workers=1 if single else 2,
    )
    door.site.start()
    return tmp_path


def link(directory: Path, files: Files) -> None:
    files.key.chmod(0o600)
    for name, target in (("mail.crt", files.certificate), ("mail.key", files.key)):
        new = directory / "new"
        new.symlink_to(target)
        new.rename(directory / name)


@pytest.mark.directive("ssl_certificate_reload")
def test_renewed_certificate(door: Door, renewing: Path) -> None:
    old = serial(door)
    with door.connect(trusting(door.pki)) as held:
        assert held.recv(4096) == b"* OK IMAP4 ready\r\n"
        link(renewing, door.pki.ca.issue("mail.test", names=["mail.test"], file="second"))
        assert "[notice] " in door.site.wait_log(f'certificate "{renewing}/mail.crt" renewed')
        wait_for("the new certificate in every process", lambda: all(serial(door) != old for _ in range(8)))
        held.sendall(b"a NOOP\r\n")
        assert held.recv(4096) == b"a OK completed\r\n"


def test_broken_pair_keeps_the_old_one(door: Door, renewing: Path) -> None:
    old = serial(door)
    second = door.pki.ca.issue("mail.test", names=["mail.test"], file="second")
    first = door.pki.directory / "first.key"
    link(renewing, Files(second.certificate, first))
    line = door.site.wait_log("could not be renewed")
    assert "[error]" in line and "SSL_CTX_use_PrivateKey" in line and "key values mismatch" in line
    assert serial(door) == old
    link(renewing, second)
    door.site.wait_log('mail.crt" renewed')
    wait_for("the new certificate", lambda: serial(door) != old)
    assert sum("could not be renewed" in line for line in door.site.log()) == 1


def test_renewed_with_a_key_of_another_type(door: Door, renewing: Path) -> None:
    rsa = door.pki.ca.issue("mail.test", names=["mail.test"], kind="rsa", file="third")
    link(renewing, rsa)
    door.site.wait_log('mail.crt" renewed')

    def types() -> set[str]:
        found = set()
        for ciphers in ("ECDSA", "aRSA"):
            context = trusting(door.pki, maximum_version=V2)
            context.set_ciphers(ciphers)
            for _ in range(4):
                with contextlib.suppress(ssl.SSLError), door.connect(context):
                    found.add(ciphers)
        return found

    wait_for("the old type's end", lambda: types() == {"aRSA"})
