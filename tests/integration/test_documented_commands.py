"""Every command in README.md and docs/ runs, as it stands there, and every configuration passes ``-t``.

A page's commands are run from top to bottom by one shell, in a directory that looks like a checkout (a page
of docs/examples: in a copy of its own directory), with network, process ids, /run, /var/log and /etc of their
own. ``fastmail`` is this tree's. After a line that ends in ``&`` it is waited for something that listens.

A block of commands is fenced as ``sh``, fenced without a language, or indented. What cannot be run has a
comment before it: ``<!-- not run: REASON -->``. What would take too long is run as REDUCED has it.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from support.documents import PAGES, Block, blocks
from support.network import own_network
from support.pki import Authority
from support.processes import ROOT

pytestmark = pytest.mark.timeout(300)

REDUCED = [
    # These build the tree that the tests run in, or run the tests, or take minutes: are they sound?
    (r"^(?:\./)?ci/demo\b(.*)", r"bash -n ci/demo; fastmail demo --check\1"),
    (r"^(?:\./)?ci/test (.+)", r"bash -n ci/test; (cd ci/..; pytest --collect-only -qq \1)"),
    (r"^pytest (.+)", r"(cd ci/..; pytest --collect-only -qq \1)"),
    (r"^perf/run", "PYTHONPATH=perf python -c 'from harness.main import parser; parser().parse_args()'"),
    (r"^(?:\./)?((?:ci|perf)/[\w-]+)(?: .*)?$", r"bash -n \1"),
    (r"--seconds \d+", "--seconds 1"),
    (r"--sessions \d+", "--sessions 100"),
    # The demo runs until Ctrl-C.
    (r"^fastmail demo(.*) &$", r"fastmail demo\1 >/run/demo & _until 'grep -q Running /run/demo'"),
    (r"^fastmail demo(?!.*Running)(.*)", r"fastmail demo --check\1"),
    # What a reader sees before typing on.
    (r"^(fastmail(?: -c \S+)?)$", r"\1 && _until '[ -s /run/fastmail.pid ]'"),
    (r"^kill \$!$", "kill $!; wait $! || _before=$(_listening)"),
    (r" &$", " & _until '(($(_listening) > _before))'"),
    (r"^(.* (/run/\S+)\.oldbin\b.*)", r"_until '[ -s \2.oldbin ] && [ -s \2 ]' && \1"),
    # Names that stand for the reader's own; the tests may run from another environment.
    (r"^\.venv/bin/", ""),
    (r"\bFILE\b", "/etc/fastmail/fastmail.conf"),
]

PREPARED = {"docs/performance.md": "fastmail -c /etc/fastmail/loadgen.conf", "docs/tls.md": "fastmail"}
"""What runs before the first command of a page."""

CONFIGURATION = """\
user nobody nogroup;
error_log /var/log/fastmail.log info;
pid /run/fastmail.pid;
events { worker_connections 1024; }
mail {
    server_name mail.example.com;
    auth_http 127.0.0.1:8000/auth;
    server { listen 143; protocol imap; }
}
"""
"""The operator's, where the page has none."""

# /etc as a whole is a copy: a page may write there, and other programs need theirs.
SCRIPT = """\
set -euo pipefail
for place in /run /var/log; do mount -t tmpfs -o mode=755 tmpfs "$place"; done
mkdir /run/lock
mount --bind "$1" /etc
cd "$2"
_listening() { cat /proc/net/tcp /proc/net/unix | grep -cE ' 0A | 00010000 ' || true; }
_until() {  # the condition holds, or the job in the background has ended
    for _ in $(seq 1200); do
        if eval "$1"; then _before=$(_listening); return; fi
        kill -0 ${!:-$$} || return
        sleep 0.05
    done
    echo "waited in vain until $1" >&2
    return 1
}
COMMANDS
"""


def relative(page: Path) -> str:
    return str(page.relative_to(ROOT))


def reduced(commands: str) -> str:
    """The commands with comments taken off and REDUCED applied."""
    lines = []
    for line in commands.splitlines():
        line = re.sub(r"(^|\s+)#\s.*$", "", line)
        for pattern, replacement in REDUCED:
            line = re.sub(pattern, replacement, line)
        lines.append(line)
    return "\n".join(lines)


def to_run(page: Path) -> list[Block]:
    """What of a page is run: commands and configurations."""
    return [
        block
        for block in blocks(page)
        if block.language == "nginx" or (block.commands and block.reason is None)
    ]


def complete(text: str) -> str:
    """A whole configuration with this part of one, which is of the main context, of mail or of a server."""
    if "mail {" not in text:
        if "server {" not in text:
            text = f"server {{ listen 1; protocol imap; {text} }}"
        text = f"mail {{ {'' if 'auth_http ' in text else 'auth_http 127.0.0.1:8000/auth;'} {text} }}"
    return text if "events {" in text else f"events {{ }} {text}"


def script(name: str, page: Path) -> str:
    """What bash is given; its arguments are the new /etc and the directory to run in."""
    parts = [reduced(PREPARED.get(name, ":"))]
    for block in to_run(page):
        if block.commands:
            commands = reduced(block.text)
        else:
            commands = f"cat >/run/part.conf <<'END'\n{complete(block.text)}\nEND\n"
            commands += "fastmail -t -q -c /run/part.conf"
        parts += [f"echo '--- {name}:{block.line}'", "_before=$(_listening)", commands]
    return SCRIPT.replace("COMMANDS", "\n".join(parts))


def prepare(place: Path, page: Path) -> Path:
    """Fill the directory; the one in it that the page's commands are to run in."""
    etc, binaries, home = place / "etc", place / "bin", place / "home"
    subprocess.run(["cp", "-a", "/etc", etc], check=True)
    with (etc / "hosts").open("a") as hosts:
        hosts.write("127.0.0.1 auth.example.com\n")
    (etc / "fastmail").mkdir()
    (etc / "nginx").mkdir(exist_ok=True)
    own = next((b.text for b in blocks(page) if b.language == "nginx" and "mail {" in b.text), None)
    (etc / "fastmail/fastmail.conf").write_text(complete(own) if own else CONFIGURATION)
    (etc / "fastmail/loadgen.conf").write_text(CONFIGURATION.replace("143", "1143").replace("8000", "2080"))
    (etc / "nginx/nginx.conf").write_text(CONFIGURATION + "http { server { } }\n")
    ca = Authority(etc / "ssl", "clients")
    shutil.copy(ca.path, etc / "ssl/backends.pem")
    for name, kind in (("com", "ec"), ("com.rsa", "rsa"), ("org", "ec")):
        ca.issue(name, names=[f"mail.example.{name[:3]}"], kind=kind, file=f"mail.example.{name}")
    binaries.mkdir()
    fastmail = binaries / "fastmail"
    fastmail.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m fastmail "$@"\n')
    fastmail.chmod(0o755)
    if "examples" in page.parts:
        shutil.copytree(page.parent, home)
    else:
        home.mkdir()
        (ROOT / "build").mkdir(exist_ok=True)  # something is made there, and used
        for entry in ROOT.iterdir():
            (home / entry.name).symlink_to(entry)
    return home


def run(name: str, page: Path, place: Path) -> tuple[int, str]:
    """Run the page's commands; how the shell ended, and what was printed."""
    home = prepare(place, page)
    programs = [place / "bin", Path(sys.executable).parent, sysconfig.get_path("scripts"), "/usr/sbin"]
    path = ":".join([*map(str, programs), os.environ["PATH"]])
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with own_network(), (place / "output").open("wb") as output:
        done = subprocess.run(
            [*namespaces, "bash", "-c", script(name, page), "bash", place / "etc", home],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=250,
            env={**os.environ, "PATH": path, "HOME": str(home)},
        )  # fmt: skip
    return done.returncode, (place / "output").read_text("latin-1")


@pytest.mark.parametrize("page", [page for page in PAGES if to_run(page)], ids=relative)
def test_commands(page: Path, place: Path) -> None:
    status, output = run(relative(page), page, place)
    assert status == 0, output


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_what_is_shown_only_has_a_reason(page: Path) -> None:
    for block in blocks(page):
        if block.reason is not None:
            assert len(block.reason.split()) > 1, f"{relative(page)}:{block.line}: why is it not run?"


@pytest.mark.parametrize(
    "command", ["    false", "```sh\nfalse | true\ntrue\n```", "Type `fastmail -t -c none`."]
)
def test_a_command_that_fails_is_noticed(command: str, place: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Text.\n\n    echo first\n\nMore text.\n\n{command}\n\nThe end.\n\n    echo last\n")
    status, output = run("page.md", page, place)
    assert status != 0
    assert output.startswith("--- page.md:3\nfirst\n--- page.md:7\n")
    assert "last" not in output
