"""Paths and names that hold when nothing else is said; they go with the name of the program."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Defaults:
    """Built-in paths; relative ones are relative to the prefix."""

    prefix: str
    conf: str
    error_log: str
    pid: str
    lock_file: str
    user: str = "nobody"

    @staticmethod
    def of(identity: str) -> "Defaults":
        """Those of ``fastmail``, or, called as ``nginx``, those of Debian's nginx."""
        return NGINX if identity == "nginx" else FASTMAIL


FASTMAIL = Defaults(
    prefix="/etc/fastmail/",
    conf="/etc/fastmail/fastmail.conf",
    error_log="/var/log/fastmail.log",
    pid="/run/fastmail.pid",
    lock_file="/var/lock/fastmail.lock",
)

NGINX = Defaults(
    prefix="/usr/share/nginx/",
    conf="/etc/nginx/nginx.conf",
    error_log="stderr",
    pid="/run/nginx.pid",
    lock_file="/var/lock/nginx.lock",
)
