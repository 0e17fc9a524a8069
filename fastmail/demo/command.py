"""The command line of ``fastmail demo``."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack

from fastmail.demo.auth import AuthService
from fastmail.demo.backend import Backend
from fastmail.demo.mailbox import PASSWORD, USER, sample_store
from fastmail.demo.protocols import IMAP, POP3, PROTOCOLS, SMTP
from fastmail.demo.proxy import CannotStart, Proxy, claim_ports
from fastmail.demo.tour import SENT_SUBJECT, Conversation, Surprise


def main(arguments: Sequence[str]) -> int:
    """Run ``fastmail demo`` with these arguments; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return asyncio.run(_demo(options.check, options.ports))
    except (CannotStart, Surprise, OSError) as error:
        print(f"fastmail demo: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastmail demo",
        description="Serve a small mailbox through fastmail on 127.0.0.1 until Ctrl-C.",
    )
    parser.add_argument("--check", action="store_true", help="log in once, then exit with status 0 or 1")
    parser.add_argument(
        "--ports",
        type=_ports,
        default={protocol.name: protocol.port for protocol in (IMAP, POP3, SMTP)},
        metavar="IMAP,POP3,SMTP",
        help=f"ports of the proxy (default {IMAP.port},{POP3.port},{SMTP.port}; 0: any that is free)",
    )
    return parser


def _ports(text: str) -> dict[str, int]:
    numbers = text.split(",")
    if len(numbers) != 3 or not all(n.isdecimal() and int(n) < 65536 for n in numbers):
        raise argparse.ArgumentTypeError("three port numbers, separated by commas")
    return dict(zip(("imap", "pop3", "smtp"), map(int, numbers), strict=True))


async def _demo(check: bool, wanted: Mapping[str, int]) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ports = claim_ports(PROTOCOLS, wanted)
    async with AsyncExitStack() as stack:
        store = sample_store()
        backends = {
            protocol.name: await stack.enter_async_context(Backend(protocol.session, store))
            for protocol in PROTOCOLS
        }
        auth = await stack.enter_async_context(
            AuthService(store, {name: backend.port for name, backend in backends.items()})
        )
        proxy = await stack.enter_async_context(Proxy(PROTOCOLS, ports, auth.port))
        finished = await _while_running(proxy, stop, _show(ports, check, stop))
        return 1 if check and not finished else 0


async def _while_running(proxy: Proxy, stop: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Run ``work`` until it is done (True), the user stops it, or the proxy ends unasked (CannotStart)."""
    shown = asyncio.ensure_future(work)
    tasks = {shown, asyncio.ensure_future(stop.wait())}
    try:
        done, _ = await asyncio.wait({*tasks, proxy.ended}, return_when=asyncio.FIRST_COMPLETED)
        if proxy.ended in done:
            raise CannotStart(f"the proxy has ended\n{proxy.log()}")
        for task in done:
            try:
                await task
            except Surprise as surprise:
                raise Surprise(f"{surprise}\n{proxy.log()}") from None
        return shown in done
    finally:
        for task in tasks:
            task.cancel()


async def _show(ports: Mapping[str, int], check: bool, stop: asyncio.Event) -> None:
    """Print how to connect and one login per protocol; then wait for the user, unless ``check``."""
    _say(f"fastmail is listening on 127.0.0.1. User {USER}, password {PASSWORD}, no encryption.")
    for protocol in PROTOCOLS:
        _say(f"\n{protocol.name.upper()}, port {ports[protocol.name]}")
        _say("    " + protocol.curl.replace("{port}", str(ports[protocol.name])))
        _say(f"    telnet 127.0.0.1 {ports[protocol.name]}    and type: {protocol.typed}")
    sent = False
    for protocol in PROTOCOLS:
        _say(f"\nA login by {protocol.name.upper()} (C: client, S: fastmail, then the backend behind it)\n")
        async with Conversation(ports[protocol.name], lambda line: _say("    " + line)) as talk:
            seen = await protocol.tour(talk)
        if seen is not None and sent and SENT_SUBJECT not in seen:
            raise Surprise(f"the message sent by SMTP cannot be read by {protocol.name.upper()}")
        sent |= protocol is SMTP
    _say("\nThe login through the proxy works.")
    if not check:
        _say("Running; Ctrl-C ends it.")
        await stop.wait()


def _say(line: str) -> None:
    try:
        os.write(1, line.encode() + b"\n")  # print() would try what could not be written again at the end
    except OSError as error:
        raise CannotStart(f"cannot write to standard output: {error.strerror}") from None
