"""Certificates: which one of several is served, and renewed ones, taken without a reload."""

import contextlib
import os
import signal
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from support.door import V2, V3, Door, served_by, trusting
from support.pki import Files
from support.ports import reserve
from support.processes import USER, wait_for


def pairs(*all_files: Files) -> str:
    return "".join(f"ssl_certificate {f.certificate}; ssl_certificate_key {f.key};\n" for f in all_files)


@pytest.mark.parametrize("name", ["one.test", "two.test", "a.wild.test", "ONE.test"])
def test_several_certificates_of_one_type_are_chosen_by_name(door: Door, name: str) -> None:
    issue = door.pki.ca.issue
    lists = [["one.test"], ["two.test"], ["*.wild.test"], ["last.test"]]
    all_files = [issue(names[0].replace("*", "x"), names=names) for names in lists]
    door.open(certificate=pairs(*all_files))
    assert door.greeting(trusting(door.pki), name) == b"* OK IMAP4 ready\r\n"
    # who names nothing, or nobody, gets the last
    context = trusting(door.pki)
    context.check_hostname = False
    for nobody in (None, "nobody.test", "b.a.wild.test", "wild.test"):
        with door.connect(context, nobody) as peer:
            certificate = peer.getpeercert()
            assert certificate is not None and certificate["subjectAltName"] == (("DNS", "last.test"),)


def served(door: Door, name: str, version: ssl.TLSVersion, ciphers: str = "ALL") -> tuple[str, ...]:
    """The names in the certificate that a client gets which asks for this one."""
    context = trusting(door.pki, minimum_version=version, maximum_version=version)
    context.check_hostname = False
    context.set_ciphers(ciphers)
    with door.connect(context, name) as peer:
        certificate = peer.getpeercert()
        assert certificate is not None
        return tuple(str(entry[1]) for entry in certificate["subjectAltName"])


def test_a_name_with_two_key_types(door: Door) -> None:
    """The client's name chooses first, then what it can; an exact name goes before a wildcard."""
    issue = door.pki.ca.issue
    lists = [["a.one.test"], ["*.one.test", "one.test"], ["two.test"]]
    door.open(
        certificate=pairs(
            *(issue(names[0].replace("*", "x"), names=names, kind=kind, file=f"{kind}{number}")
              for kind in ("ec", "rsa") for number, names in enumerate(lists))
        )
    )  # fmt: skip
    wanted = {"a.one.test": lists[0], "b.one.test": lists[1], "one.test": lists[1], "two.test": lists[2]}
    for name, names in wanted.items():
        assert served(door, name, V3) == tuple(names)
        for ciphers in ("ECDSA", "aRSA"):
            assert served(door, name, V2, ciphers) == tuple(names)


# --- renewed certificates --------------------------------------------------------------------------


def serial(door: Door) -> int:
    """Of the certificate that is served now."""
    with door.connect(trusting(door.pki)) as peer:
        certificate = peer.getpeercert()
        assert certificate is not None
        return int(str(certificate["serialNumber"]), 16)


def everywhere(door: Door, check: Callable[[], bool]) -> bool:
    """Whether it is so in each process that serves."""
    pids = door.site.workers() or [door.site.pid]
    for pid in pids:
        with served_by(pid, pids):
            if not check():
                return False
    return True


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
        wait_for("the new certificate", lambda: everywhere(door, lambda: serial(door) != old))
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
    wait_for("the new certificate", lambda: everywhere(door, lambda: serial(door) != old))
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
            with contextlib.suppress(ssl.SSLError), door.connect(context):
                found.add(ciphers)
        return found

    wait_for("the old type's end", lambda: everywhere(door, lambda: types() == {"aRSA"}))


def test_files_that_are_not_there_yet(door: Door, renewing: Path) -> None:
    """Half written, then gone, then whole; each is logged, and the old certificate served meanwhile."""
    old = serial(door)
    second = door.pki.ca.issue("mail.test", names=["mail.test"], file="second")
    whole = second.certificate.read_bytes()
    second.certificate.write_bytes(whole[: len(whole) // 2])
    link(renewing, second)
    door.site.wait_log(r"\[error\].*could not be renewed.*PEM_read_bio_X509_AUX\(\) failed \(SSL: ")
    second.key.rename(renewing / "kept.key")
    door.site.wait_log(r"could not be renewed.*", count=2)
    assert serial(door) == old
    second.certificate.write_bytes(whole)
    (renewing / "kept.key").rename(second.key)
    wait_for("the new certificate", lambda: serial(door) != old)


@pytest.mark.parametrize("renewing", ["workers"], indirect=True)
def test_a_worker_that_starts_later_has_the_renewed_certificate(door: Door, renewing: Path) -> None:
    old = serial(door)
    link(renewing, door.pki.ca.issue("mail.test", names=["mail.test"], file="second"))
    door.site.wait_log('mail.crt" renewed')
    before = door.site.wait_workers(2)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    door.site.wait_workers(2, besides=before)
    assert serial(door) != old


def test_renewed_names_and_an_encrypted_key(door: Door, tmp_path: Path) -> None:
    """One of several certificates gets another name; the others go on."""
    (tmp_path / "passwords").write_text("no\nopen sesame\n")
    issue = door.pki.ca.issue
    link(tmp_path, issue("one.test", names=["one.test"], password=b"open sesame", file="locked"))
    moving = Files(tmp_path / "mail.crt", tmp_path / "mail.key")
    door.open(
        f"ssl_certificate_reload 50ms; ssl_password_file {tmp_path}/passwords;",
        certificate=pairs(
            moving, issue("two.test", names=["two.test"]), issue("last.test", names=["last.test"])
        ),
        workers=2,
    )
    assert served(door, "one.test", V3) == ("one.test",)
    assert served(door, "new.test", V3) == ("last.test",)
    link(tmp_path, issue("new.test", names=["new.test"], password=b"open sesame", file="locked-again"))
    certificates = {"new.test": "new.test", "one.test": "last.test", "two.test": "two.test"}

    def renewed() -> bool:
        return all(served(door, asked, V3) == (name,) for asked, name in certificates.items())

    wait_for("the new name", lambda: everywhere(door, renewed))


def test_only_a_reload_renews(door: Door, tmp_path: Path) -> None:
    """``ssl_certificate_reload off``, beside a server that looks at the same files."""
    link(tmp_path, door.pki.ca.issue("mail.test", names=["mail.test"], file="first"))
    pair = pairs(Files(tmp_path / "mail.crt", tmp_path / "mail.key"))
    door.open(
        "ssl_certificate_reload off; } "
        f"server {{ listen 127.0.0.1:{reserve()} ssl; protocol imap; {pair} ssl_certificate_reload 50ms;",
        certificate=pair,
    )
    old = serial(door)
    link(tmp_path, door.pki.ca.issue("mail.test", names=["mail.test"], file="second"))
    door.site.wait_log('mail.crt" renewed')
    assert serial(door) == old
    door.site.signal("reload")
    wait_for("the new certificate", lambda: serial(door) != old)
    assert len([line for line in door.site.log() if 'mail.crt" renewed' in line]) == 1
