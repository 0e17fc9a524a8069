"""nginx hands over to fastmail and takes over again: the program at its path is exchanged, then USR2."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.authserver import AuthServer
from support.processes import ROOT, Echo, LiteralEcho, Session, Site, alive, imap, title, wait_for

NGINX = "/usr/sbin/nginx"


@pytest.fixture
def backend() -> Iterator[Echo]:
    with LiteralEcho() as backend:
        yield backend


def put(site: Site, program: str) -> Path:
    """Let the path ``nginx`` be the real one, or fastmail's console script."""
    path, new = site.directory / "nginx", site.directory / "nginx.new"
    if program == "nginx":
        shutil.copy(NGINX, new)
    else:
        new.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            "from fastmail.__main__ import main\nsys.exit(main())\n"
        )
        new.chmod(0o755)
    new.rename(path)
    return path


@pytest.fixture
def masters() -> Iterator[list[int]]:
    pids: list[int] = []
    yield pids
    for pid in reversed(pids):
        if alive(pid):
            os.kill(pid, signal.SIGTERM)
            wait_for("the master's end", lambda pid=pid: not alive(pid))  # type: ignore[misc]


def replace(site: Site, masters: list[int], program: str) -> int:
    """Upgrade to ``program`` and end the old master gracefully; the new one's pid."""
    put(site, program)
    old = site.pid
    os.kill(old, signal.SIGUSR2)
    wait_for("the new pid file", lambda: site._pid_in_file() not in (None, old))
    masters.append(site.pid)
    site.wait_workers(1)
    os.kill(old, signal.SIGQUIT)
    return old


def test_from_nginx_and_back(site: Site, auth: AuthServer, port: int, masters: list[int]) -> None:
    module = "load_module /usr/lib/nginx/modules/ngx_mail_module.so;"
    unix = site.directory / "imap.sock"
    site.configure(imap(auth, port, f"listen unix:{unix};"), main=module, log="error.log info")
    command = [str(put(site, "nginx")), *site.command()[3:]]
    subprocess.run(command, check=True, cwd=site.directory, capture_output=True)
    wait_for("pid file", lambda: site._pid_in_file() is not None)
    masters.append(site.pid)
    site.wait_workers(1)
    with Session(port) as first, Session(str(unix)) as second:
        nginx = replace(site, masters, "fastmail")
        fastmail = site.pid
        assert os.path.basename(os.readlink(f"/proc/{fastmail}/exe")).startswith("python")
        assert title(fastmail).startswith("nginx: master process ")
        first.exchange()
        second.exchange()
        for address in (port, str(unix)):
            with Session(address) as another:
                another.exchange()
    wait_for("nginx's end", lambda: not alive(nginx))
    with Session(port) as first, Session(str(unix)) as second:
        replace(site, masters, "nginx")
        assert os.readlink(f"/proc/{site.pid}/exe") == str(site.directory / "nginx")
        first.exchange()
        second.exchange()
        for address in (port, str(unix)):
            with Session(address) as another:
                another.exchange()
    wait_for("fastmail's end", lambda: not alive(fastmail))
    with Session(str(unix)) as session:
        session.exchange()
