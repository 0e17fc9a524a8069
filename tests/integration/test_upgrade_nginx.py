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
from support.processes import ROOT, Echo, Session, Site, alive, imap, title, wait_for

NGINX = "/usr/sbin/nginx"


@pytest.fixture
def backend() -> Iterator[Echo]:
    with Echo() as backend:
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


def replace(site: Site, program: str) -> int:
    """Upgrade to ``program`` and end the old master gracefully; that one's pid."""
    put(site, program)
    old, _ = site.upgrade()
    os.kill(old, signal.SIGQUIT)
    return old


def test_from_nginx_and_back(site: Site, auth: AuthServer, port: int) -> None:
    module = "load_module /usr/lib/nginx/modules/ngx_mail_module.so;"
    unix = site.directory / "imap.sock"
    site.configure(imap(auth, port, f"listen unix:{unix};"), main=module, log="error.log info")
    command = [str(put(site, "nginx")), *site.command()[3:]]
    subprocess.run(command, check=True, cwd=site.directory, capture_output=True)
    site.adopt()
    site.wait_workers(1)
    with Session(port) as first, Session(str(unix)) as second:
        nginx = replace(site, "fastmail")
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
        replace(site, "nginx")
        assert os.readlink(f"/proc/{site.pid}/exe") == str(site.directory / "nginx")
        first.exchange()
        second.exchange()
        for address in (port, str(unix)):
            with Session(address) as another:
                another.exchange()
    wait_for("fastmail's end", lambda: not alive(fastmail))
    with Session(str(unix)) as session:
        session.exchange()
