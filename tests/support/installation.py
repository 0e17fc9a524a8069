"""fastmail as docs/service.md installs it, the program being this tree: files for support.machine."""

import re
import subprocess
import sys

from support.processes import ROOT

PACKAGING = ROOT / "packaging"
PAGE = ROOT / "docs/service.md"
PROGRAM = "/opt/fastmail/bin/fastmail"

_LAUNCHER = f"""\
#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from fastmail.__main__ import main
sys.exit(main())
"""


def interpreter() -> dict[str, str]:
    """The program, and the interpreter of its virtual environment."""
    return {PROGRAM: _LAUNCHER, "/opt/fastmail/bin/python": f'#!/bin/sh\nexec {sys.executable} "$@"\n'}


def installation() -> dict[str, str]:
    """What a wheel has put into the virtual environment; install() does the rest."""
    shared = {f"/opt/fastmail/share/fastmail/{path.name}": path.read_text() for path in PACKAGING.iterdir()}
    private = "/(home|root|tmp|var/tmp)/"
    hidden = [path for path in (sys.base_prefix, sys.prefix, str(ROOT)) if re.match(private, path)]
    if hidden:  # the interpreter of these tests; an installation's is in none of these places
        more = f"[Service]\nProtectHome=tmpfs\nBindReadOnlyPaths={' '.join(hidden)}\n"
        shared["/etc/systemd/system/fastmail.service.d/interpreter.conf"] = more
    return {PROGRAM: _LAUNCHER, **shared}


def commands(first: str) -> str:
    """The block of docs/service.md that begins so."""
    found = re.search(rf"^    {re.escape(first)}.*\n(    .*\n)+", PAGE.read_text(), re.MULTILINE)
    assert found is not None, first
    return found[0]


def install() -> None:
    """In the machine: the commands of docs/service.md."""
    subprocess.run(["sh", "-euc", commands("cd /opt/fastmail/share")], check=True)
