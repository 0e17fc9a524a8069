"""``fastmail demo``: a proxy with an embedded auth server and embedded backends, to try it out.

All parts speak to each other over real sockets on the loopback interface; the proxy is fastmail itself, run
as a child process with an nginx configuration. A tap on each connection shows what is said.

The demo is in the package, not beside it: whoever has installed a wheel can try it, and
``fastmail demo --check`` tests an installation. The proxy imports none of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastmail.demo.options import parse


def main(arguments: Sequence[str]) -> int:
    """Run ``fastmail demo`` with these arguments; returns the exit status."""
    options = parse(arguments)
    from fastmail.demo.command import run  # help needs neither aiohttp nor the engine

    return run(options)
