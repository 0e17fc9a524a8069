"""The master and its workers: start-up, signals, sockets, privileges (nginx's process model)."""

import platform

from fastmail import __version__

NGINX_VERSION = "1.31.5"


def product(identity: str) -> str:
    """``fastmail/0.1.0``, or nginx's name and the version it behaves like when called by that name."""
    return f"nginx/{NGINX_VERSION}" if identity == "nginx" else f"fastmail/{__version__}"


def built_by() -> str:
    """What runs and compiled us."""
    return f"{platform.python_implementation()} {platform.python_version()} [{platform.python_compiler()}]"


class StartFailed(Exception):
    """A configuration cannot be put in force; str() is the message for the log."""

    level = "emerg"
