"""The files of packaging/ with Debian's systemd: the unit and its sandbox, the socket unit, rotation of logs.

What happens in the machine is in inside_service.py.
"""

import re
import subprocess
from pathlib import Path

import pytest
from support import machine
from support.installation import PACKAGING, installation

WORST = 3.0
"""``systemd-analyze security`` must say less."""


def test_units_are_correct(tmp_path: Path) -> None:
    """``verify`` looks for the program, which an installation has."""
    for name in ("fastmail.service", "fastmail.socket"):
        text = (PACKAGING / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/fastmail/bin/fastmail", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_exposure() -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(PACKAGING / "fastmail.service")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for fastmail\.service: ([0-9.]+) ", done.stdout)
    assert found is not None, done.stdout
    assert float(found[1]) < WORST, done.stdout


@pytest.mark.parametrize(
    "name",
    [
        "serves_in_its_sandbox",
        "reload",
        "broken_configuration",
        "reload_whose_workers_cannot_start",
        "log_rotation",
        "upgrade",
        "socket_activation",
        "sockets_for_a_service_that_runs",
    ],
)
def test_in_a_machine(name: str) -> None:
    machine.run(f"tests/integration/inside_service.py::test_{name}", installation())
