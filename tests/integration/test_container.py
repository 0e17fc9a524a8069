"""The container recipe: there is no runtime to build it with here, but what it starts and asks can be run."""

import os
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from support import machine
from support.installation import PACKAGING, interpreter

NAMES = {
    "/etc/fastmail/fastmail.conf": "container.conf",
    "/opt/fastmail/healthcheck.py": "healthcheck.py",
    "/opt/fastmail/Containerfile": "Containerfile",
}


def test_entry_point_and_health_check() -> None:
    files = {path: (PACKAGING / name).read_text() for path, name in NAMES.items()}
    machine.run(
        "tests/integration/inside_container.py::test_entry_point_and_health_check",
        {**files, **interpreter()},
        systemd=False,
    )


@pytest.mark.parametrize("address", ["", "1143", "127.0.0.1:", "127.0.0.1:imap"])
def test_health_check_of_nothing(address: str) -> None:
    done = subprocess.run(
        [sys.executable, PACKAGING / "healthcheck.py"],
        env={**os.environ, "HEALTHCHECK": address}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f'HEALTHCHECK is "{address}" instead of an address and a port\n'


def test_what_is_copied_exists() -> None:
    ignored = (PACKAGING / "Containerfile.dockerignore").read_text().splitlines()
    for line in ignored:
        assert not line.startswith("!") or (PACKAGING.parent / line[1:]).exists(), line


def test_all_that_is_installed_is_copied() -> None:
    ignored = (PACKAGING / "Containerfile.dockerignore").read_text().splitlines()
    copied = [line[1:] for line in ignored if line.startswith("!")]
    project = tomllib.loads((PACKAGING.parent / "pyproject.toml").read_text())
    for file in chain(*project["tool"]["setuptools"]["data-files"].values()):
        assert any(Path(file).is_relative_to(path) for path in copied), file
