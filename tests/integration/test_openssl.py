"""OpenSSL: which one there is, and where its configuration file is found."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from support.authserver import AuthServer
from support.distribution import Distribution
from support.pki import PKI
from support.processes import Site, imap

from fastmail._speedups import OPENSSL_STATIC


def system_directory() -> str:
    """Where the system's OpenSSL looks."""
    said = subprocess.run(["openssl", "version", "-d"], check=True, capture_output=True, text=True).stdout
    return said.split('"')[1]


PLACES = ["/etc/pki/tls", "/usr/lib/ssl", "/etc/ssl"] if OPENSSL_STATIC else [system_directory()]
"""Where distributions keep openssl.cnf; one that is linked statically has to find it on any of them."""

_STRICT = """\
{name} = start
[start]
ssl_conf = contexts
[contexts]
system_default = strict
[strict]
CipherString = DEFAULT@SECLEVEL=5
"""


@pytest.fixture
def distribution(tmp_path: Path) -> Distribution:
    return Distribution(tmp_path)


@pytest.fixture
def checked(site: Site, auth: AuthServer, port: int, tmp_path: Path) -> list[str]:
    """The command that tests a configuration with TLS."""
    server = PKI(tmp_path / "pki").server
    files = f"ssl_certificate {server.certificate}; ssl_certificate_key {server.key}; starttls on;"
    site.configure(imap(auth, port, files))
    return site.command("-t")


def refused(command: list[str], **environment: str) -> bool:
    """Whether the certificate's key is too small for the security level of openssl.cnf."""
    environment["PATH"] = os.environ["PATH"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert (result.returncode == 0) is ("ee key too small" not in result.stderr), result.stderr
    return result.returncode != 0


@pytest.mark.parametrize("section", ["openssl_conf", "nginx"])
@pytest.mark.parametrize("place", PLACES)
def test_configuration_file(distribution: Distribution, checked: list[str], place: str, section: str) -> None:
    """``openssl_conf`` is for every program, ``nginx`` for those of that name (reference 9.2)."""
    command = [*distribution.within, *checked]
    assert not refused(command)
    distribution.put(f"{place}/openssl.cnf", _STRICT.format(name=section))
    assert refused(command)


def test_configuration_file_of_the_environment(
    distribution: Distribution, checked: list[str], tmp_path: Path
) -> None:
    distribution.put(f"{PLACES[0]}/openssl.cnf", _STRICT.format(name="openssl_conf"))
    own = tmp_path / "own.cnf"
    own.write_text("")
    command = [*distribution.within, *checked]
    assert not refused(command, OPENSSL_CONF=str(own))
    own.write_text(_STRICT.format(name="nginx"))
    assert refused(checked, OPENSSL_CONF=str(own))


def test_which_one(site: Site) -> None:
    lines = site.run("-V").stderr.splitlines()
    where = "linked statically" if OPENSSL_STATIC else "the system's"
    version = r"OpenSSL \d+\.\d+\.\d+ [^,()]*"
    assert re.fullmatch(rf"built with {version} \((running with {version}, )?{where}\)", lines[2])
    assert re.fullmatch(rf"https auth servers: {version} \(Python's\)", lines[3])
