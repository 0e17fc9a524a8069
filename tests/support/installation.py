"""fastmail as docs/service.md installs it, the program being this tree: files for support.machine."""

import re
import sys

from support.processes import ROOT

PACKAGING = ROOT / "packaging"
PROGRAM = "/opt/fastmail/bin/fastmail"

_UNITS = "/etc/systemd/system"
_LAUNCHER = f"""\
#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from fastmail.__main__ import main
sys.exit(main())
"""


def installation() -> dict[str, str]:
    """The text of each file by its path."""
    placed = {
        PROGRAM: _LAUNCHER,
        f"{_UNITS}/fastmail.service": (PACKAGING / "fastmail.service").read_text(),
        f"{_UNITS}/fastmail.socket": (PACKAGING / "fastmail.socket").read_text(),
        "/etc/sysusers.d/fastmail.conf": (PACKAGING / "fastmail.sysusers").read_text(),
        "/etc/logrotate.d/fastmail": (PACKAGING / "fastmail.logrotate").read_text(),
        "/etc/fastmail/fastmail.conf": (PACKAGING / "fastmail.conf").read_text(),
    }
    homes = [path for path in (sys.base_prefix, sys.prefix, str(ROOT)) if re.match("/(home|root)/", path)]
    if homes:  # the interpreter of these tests; an installation's is not in a home directory
        more = f"[Service]\nProtectHome=tmpfs\nBindReadOnlyPaths={' '.join(homes)}\n"
        placed[f"{_UNITS}/fastmail.service.d/interpreter.conf"] = more
    return placed
