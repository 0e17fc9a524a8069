"""The files of packaging/ with Debian's systemd: the unit and its sandbox, the socket unit, rotation of logs.

What happens in the machine is in inside_service.py.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import machine
from support.processes import ROOT

PACKAGING = ROOT / "packaging"
UNITS = Path("/etc/systemd/system")
WORST = 3.0
"""``systemd-analyze security`` must say less."""

_PROGRAM = f"""\
#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from fastmail.__main__ import main
sys.exit(main())
"""


def installation() -> dict[str, str]:
    """What docs/service.md installs; the program is this tree."""
    placed = {
        "/opt/fastmail/bin/fastmail": _PROGRAM,
        f"{UNITS}/fastmail.service": (PACKAGING / "fastmail.service").read_text(),
        f"{UNITS}/fastmail.socket": (PACKAGING / "fastmail.socket").read_text(),
        "/etc/sysusers.d/fastmail.conf": (PACKAGING / "fastmail.sysusers").read_text(),
        "/etc/logrotate.d/fastmail": (PACKAGING / "fastmail.logrotate").read_text(),
        "/etc/fastmail/fastmail.conf": (PACKAGING / "fastmail.conf").read_text(),
    }
    homes = [path for path in (sys.base_prefix, sys.prefix, str(ROOT)) if re.match("/(home|root)/", path)]
    if homes:  # the interpreter of these tests; an installation's is not in a home directory
        more = f"[Service]\nProtectHome=tmpfs\nBindReadOnlyPaths={' '.join(homes)}\n"
        placed[f"{UNITS}/fastmail.service.d/interpreter.conf"] = more
    return placed


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
        "log_rotation",
        "upgrade",
        "socket_activation",
    ],
)
def test_in_a_machine(name: str) -> None:
    machine.run(f"tests/integration/inside_service.py::test_{name}", installation())
