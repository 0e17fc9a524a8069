"""The nginx that fastmail is compared with: Debian's, whichever it is."""

import functools
import re
import subprocess

NGINX = "/usr/sbin/nginx"

Version = tuple[int, ...]

NO_VERSION: Version = (1_000_000,)
"""Newer than any."""


@functools.cache
def version() -> Version:
    """What ``nginx -v`` says."""
    said = subprocess.run([NGINX, "-v"], check=True, stderr=subprocess.PIPE, text=True).stderr
    found = re.search(r"nginx/([\d.]+)", said)
    assert found is not None, said
    return tuple(map(int, found[1].split(".")))
