"""Renewed certificates: which change is noticed, and when it is read."""

import shutil
import time
from pathlib import Path

import pytest
from support.engine import until
from support.pki import PKI, Files

from fastmail._speedups import TLSContext
from fastmail.config import Configuration, load
from fastmail.logs import Log
from fastmail.server.certificates import CertificateWatch


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PKI:
    return PKI(tmp_path_factory.mktemp("pki"))


def put(files: Files, directory: Path) -> None:
    shutil.copy(files.certificate, directory / "mail.crt")
    shutil.copy(files.key, directory / "mail.key")


def configured(directory: Path, reload: str = "1ms") -> Configuration:
    (directory / "n.conf").write_text(
        "events {} mail { auth_http 127.0.0.1:9; ssl_certificate mail.crt; ssl_certificate_key mail.key; "
        f"ssl_certificate_reload {reload}; server {{ listen 127.0.0.1:14310 ssl; protocol imap; }} }}"
    )
    return load("n.conf", prefix=str(directory))


def test_a_change_while_we_start_is_noticed(tmp_path: Path, pki: PKI) -> None:
    put(pki.server, tmp_path)
    configuration = configured(tmp_path)
    put(pki.server_rsa, tmp_path)
    renewed: list[tuple[int, TLSContext]] = []
    watch = CertificateWatch(configuration.servers, Log([]))

    def look() -> bool:
        watch.look(lambda number, context: renewed.append((number, context)))
        return bool(renewed)

    until(look)
    ((number, context),) = renewed
    certificate, _ = context.pairs()[0]
    assert (number, certificate) == (0, pki.server_rsa.certificate.read_bytes())
    assert not any(look() and len(renewed) > 1 for _ in range(10))


@pytest.mark.parametrize(("value", "seconds"), [("on", 10), ("2m", 120), ("off", None), ("0", None)])
def test_how_often(tmp_path: Path, pki: PKI, value: str, seconds: int | None) -> None:
    put(pki.server, tmp_path)
    configuration = configured(tmp_path, value)
    before = time.monotonic()
    due = CertificateWatch(configuration.servers, Log([])).due()
    assert due is None if seconds is None else due is not None and before <= due - seconds <= time.monotonic()
