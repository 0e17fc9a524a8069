"""The container recipe: there is no runtime to build it with here, but what it starts and asks can be run."""

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


def test_what_is_copied_exists() -> None:
    ignored = (PACKAGING / "Containerfile.dockerignore").read_text().splitlines()
    for line in ignored:
        assert not line.startswith("!") or (PACKAGING.parent / line[1:]).exists(), line
