"""The command ``fastmail``, as pip installs it, also by a link named ``nginx``."""

import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from support.authserver import AuthServer
from support.processes import ROOT, Session, Site, alive, imap, title, wait_for


@pytest.fixture
def script(site: Site) -> Path:
    """What pip has installed beside the interpreter; in a checkout, the same text elsewhere."""
    installed = Path(sysconfig.get_path("scripts"), "fastmail")
    if installed.exists():
        return installed
    script = site.directory / "bin"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from fastmail.__main__ import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
    )
    script.chmod(0o755)
    return script


@pytest.fixture(params=["fastmail", "nginx"])
def link(request: pytest.FixtureRequest, site: Site, script: Path) -> Path:
    """A link of that name to the script."""
    path = site.directory / str(request.param)
    path.symlink_to(script)
    return path


def test_version_by_name(link: Path) -> None:
    result = subprocess.run([link, "-v"], capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr.startswith(f"{link.name} version: {link.name}/")


def test_demo_beside_another_fastmail(script: Path, tmp_path: Path) -> None:
    """Every process of the demo is the installed program, whatever lies in the current directory."""
    (tmp_path / "fastmail").mkdir()
    (tmp_path / "fastmail/__init__.py").write_text("raise ImportError('another fastmail')\n")
    command = [str(script), "demo", "--check", "--ports", "0,0,0"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


def test_daemon_signals_and_upgrade(site: Site, auth: AuthServer, port: int, link: Path) -> None:
    site.configure(imap(auth, port))
    command = [str(link), *site.command()[3:]]
    subprocess.run(command, check=True, cwd=site.directory, capture_output=True, timeout=30)
    old = site.adopt()
    site.wait_workers(1)
    assert title(old).startswith(f"{link.name}: master process ")
    with Session(port) as session:
        _, new = site.upgrade()
        assert title(new) == title(old)
        os.kill(old, signal.SIGQUIT)
        session.exchange()
        with Session(port) as another:
            another.exchange()
    wait_for("the old master's end", lambda: not alive(old))
    subprocess.run([*command, "-s", "quit"], check=True, cwd=site.directory, timeout=30)
    wait_for("the end", lambda: not alive(new))
