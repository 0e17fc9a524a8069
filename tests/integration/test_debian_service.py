"""Debian's ways to run nginx (service unit, init script, its "rotate"), with fastmail in nginx's place.

Everything happens in namespaces of its own: what is mounted over nginx, its configuration, /run and /var/log
is seen by nobody else, and no process outlives the test.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.ports import reserve
from support.processes import ROOT

UNIT = Path("/lib/systemd/system/nginx.service")
INIT_SCRIPT = "/etc/init.d/nginx"

pytestmark = pytest.mark.parametrize("kind", ["nginx", "fastmail"])

_LAUNCHER = f"""\
#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from fastmail.__main__ import main
sys.exit(main())
"""
_CONFIGURATION = """\
load_module /usr/lib/nginx/modules/ngx_mail_module.so;
user www-data;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log notice;
events {{ worker_connections 768; }}
mail {{
    auth_http 127.0.0.1:9/;
    server {{ listen 127.0.0.1:{port}; protocol imap; }}
}}
"""
_SCRIPT = """\
for place in /run /var/log; do mount -t tmpfs -o mode=755 tmpfs $place || exit; done
mkdir /var/log/nginx
mount --bind {directory} /etc/nginx || exit
{place}
say() {{ echo "$@"; }}
run() {{ what=$1; shift; "$@" </dev/null >>/var/log/output 2>&1; say "$what: $?"; }}
master() {{ cat /run/nginx.pid; }}
until_() {{
    n=0
    until eval "$1" || [ $n = 100 ]; do n=$((n + 1)); sleep 0.1; done
    eval "$1" || say "waited in vain: $1"
}}
workers() {{ ps -o pid=,args= --ppid "$(master)" | sed -n 's/^ *\\([0-9]*\\) nginx: worker process$/\\1/p'; }}
up() {{ [ -s /run/nginx.pid ] && [ -n "$(workers)" ]; }}
{steps}
cat /var/log/output >&2
"""


def _run(kind: str, directory: Path, steps: str) -> list[str]:
    """What the steps say. ``run WHAT COMMAND`` says how the command ended."""
    directory.chmod(0o755)
    (directory / "nginx.conf").write_text(_CONFIGURATION.format(port=reserve()))
    launcher = directory / "launcher"
    launcher.write_text(_LAUNCHER)
    launcher.chmod(0o755)
    place = f"mount --bind {launcher} /usr/sbin/nginx || exit" if kind == "fastmail" else ""
    script = _SCRIPT.format(directory=directory, place=place, steps=steps)
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        [*namespaces, "sh", "-c", script],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    print(done.stderr)
    return done.stdout.splitlines()


def _unit_command(key: str) -> str:
    """The command of a line of the service unit."""
    found = re.search(rf"^{key}=-?(.*)$", UNIT.read_text(), re.MULTILINE)
    assert found, key
    return found[1]


def test_service_unit(kind: str, tmp_path: Path) -> None:
    commands = {key: _unit_command(key) for key in ("ExecStartPre", "ExecStart", "ExecReload", "ExecStop")}
    run = {key: f"run {key} sh -c {shlex.quote(command)}" for key, command in commands.items()}
    said = _run(
        kind,
        tmp_path,
        f"""
        {run["ExecStartPre"]}
        [ -s /var/log/output ] && say "-q said something"
        {run["ExecStart"]}
        until_ up; first=$(master); old=$(workers)
        tr '\\0' '\\n' </proc/$first/cmdline | head -1
        cat /proc/$first/comm /proc/$old/comm
        {run["ExecReload"]}
        until_ '[ -n "$(workers)" ] && [ "$(workers)" != $old ]'
        [ "$(master)" = $first ] && say "same master"
        {run["ExecStop"]}
        [ -e /run/nginx.pid ] || say "no pid file"
        ps -C nginx -o args=
        """,
    )
    assert said == [
        "ExecStartPre: 0",
        "ExecStart: 0",
        "nginx: master process /usr/sbin/nginx -g daemon on; master_process on;",
        "nginx",
        "nginx",
        "ExecReload: 0",
        "same master",
        "ExecStop: 0",
        "no pid file",
    ]


def test_service_unit_refuses_a_broken_configuration(kind: str, tmp_path: Path) -> None:
    command = shlex.quote(_unit_command("ExecStartPre"))
    said = _run(
        kind,
        tmp_path,
        f"""
        echo "nonsense;" >>/etc/nginx/nginx.conf
        run ExecStartPre sh -c {command}
        cat /var/log/output
        """,
    )
    where = re.escape('unknown directive "nonsense" in /etc/nginx/nginx.conf:10')
    assert said[0] == "ExecStartPre: 1"
    assert re.fullmatch(rf"[0-9/]+ [0-9:]+ \[emerg\] \d+#\d+: {where}", said[1])
    assert said[2] == "nginx: configuration file /etc/nginx/nginx.conf test failed"


def test_init_script(kind: str, tmp_path: Path) -> None:
    said = _run(
        kind,
        tmp_path,
        f"""
        run stopped {INIT_SCRIPT} status
        run start {INIT_SCRIPT} start
        until_ up; first=$(master); old=$(workers)
        run running {INIT_SCRIPT} status
        run configtest {INIT_SCRIPT} configtest
        run reload {INIT_SCRIPT} reload
        until_ '[ -n "$(workers)" ] && [ "$(workers)" != $old ]'
        mv /var/log/nginx/error.log /var/log/nginx/error.log.1
        run rotate {INIT_SCRIPT} rotate
        until_ '[ -e /var/log/nginx/error.log ]'
        [ "$(master)" = $first ] && say "same master"
        echo "nonsense;" >>/etc/nginx/nginx.conf
        run "reload of nonsense" {INIT_SCRIPT} reload
        run "restart with nonsense" {INIT_SCRIPT} restart
        sed -i /nonsense/d /etc/nginx/nginx.conf
        run restart {INIT_SCRIPT} restart
        until_ up
        [ "$(master)" != $first ] && say "another master"
        run stop {INIT_SCRIPT} stop
        run stopped {INIT_SCRIPT} status
        [ -e /run/nginx.pid ] || say "no pid file"
        """,
    )
    assert said == [
        "stopped: 3",
        "start: 0",
        "running: 0",
        "configtest: 0",
        "reload: 0",
        "rotate: 0",
        "same master",
        "reload of nonsense: 1",
        "restart with nonsense: 1",
        "restart: 0",
        "another master",
        "stop: 0",
        "stopped: 3",
        "no pid file",
    ]
