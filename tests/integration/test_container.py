"""The container recipe: there is no runtime to build it with here, but what it starts and asks can be run."""

import os
import subprocess
import sys

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
