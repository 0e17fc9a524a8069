"""The master and its workers: start-up, signals, sockets, privileges (nginx's process model)."""

import platform
import ssl

from fastmail import __version__

NGINX_VERSION = "1.31.5"


def product(identity: str) -> str:
    """``fastmail/0.1.0``, or nginx's name and the version it behaves like when called by that name."""
    return f"nginx/{NGINX_VERSION}" if identity == "nginx" else f"fastmail/{__version__}"


def built_by() -> str:
    """What runs and compiled us."""
    return f"{platform.python_implementation()} {platform.python_version()} [{platform.python_compiler()}]"


def built_with() -> list[str]:
    """Which OpenSSL is used for what: the engine's as nginx says it, and Python's, for ``auth_http https://``."""
    from fastmail._speedups import OPENSSL_COMPILED, OPENSSL_RUNNING, OPENSSL_STATIC

    notes = [f"running with {OPENSSL_RUNNING}"] if OPENSSL_RUNNING != OPENSSL_COMPILED else []
    notes.append("linked statically" if OPENSSL_STATIC else "the system's")
    return [
        f"built with {OPENSSL_COMPILED} ({', '.join(notes)})",
        f"https auth servers: {ssl.OPENSSL_VERSION} (Python's)",
    ]


class StartFailed(Exception):
    """A configuration cannot be put in force; str() is the message for the log."""

    level = "emerg"
