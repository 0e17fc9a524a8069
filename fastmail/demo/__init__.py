"""``fastmail demo``: a proxy with an embedded auth service and embedded backends, to try it out.

All parts speak to each other over real sockets on 127.0.0.1; the proxy is fastmail itself, run as a
child process with an nginx configuration.
"""

from fastmail.demo.command import main

__all__ = ["main"]
