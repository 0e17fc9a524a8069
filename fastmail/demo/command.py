"""Starts the parts of the demo, logs in once by each protocol, and shows what is said."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import sys
import tempfile
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fastmail.demo import certificate
from fastmail.demo.auth import AuthService
from fastmail.demo.backend import Backend
from fastmail.demo.mailbox import PASSWORD, USER, sample_store
from fastmail.demo.options import Options
from fastmail.demo.protocols import IMAP, POP3, PROTOCOLS, SMTP
from fastmail.demo.proxy import HOST, CannotStart, Ports, Proxy, configuration
from fastmail.demo.screen import CannotPrint, Event, Screen
from fastmail.demo.tap import Tap
from fastmail.demo.tour import SENT_SUBJECT, Conversation, Surprise


def run(options: Options) -> int:
    """Serve until Ctrl-C, or check and return; the exit status."""
    screen = Screen()
    try:
        with tempfile.TemporaryDirectory(prefix="fastmail-demo-") as folder:
            return asyncio.run(_demo(options, Path(folder), screen))
    except (CannotStart, CannotPrint, Surprise, OSError) as error:
        print(f"fastmail demo: {error}", file=sys.stderr)
        return 1


async def _demo(options: Options, folder: Path, screen: Screen) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        loop.add_signal_handler(number, stop.set)
    events = _Events(screen)
    async with AsyncExitStack() as stack:
        auth = await _start_backends(stack, events)
        trusted = certificate.make(folder)
        plain = await _bind_taps(stack, options.ports, "--ports", events)
        tls = await _bind_taps(stack, options.tls_ports, "--tls-ports", events) if trusted else {}
        ports = Ports(_numbers(plain), _numbers(tls))
        text = configuration(PROTOCOLS, ports, auth.port)
        proxy = await stack.enter_async_context(Proxy(text, folder, ports, events.show))
        for tap in (*plain.values(), *tls.values()):
            await tap.open()
        stack.callback(screen.end)
        screen.begin(_header(ports, trusted))
        loop.add_signal_handler(signal.SIGWINCH, screen.redraw)
        finished = await _while_running(proxy, stop, events, _work(ports.plain, screen, options.check, stop))
        return 1 if options.check and not finished else 0


class _Events:
    """Passes events on to the screen. A failure to print ends the demo, not the session being shown."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._failure: CannotPrint | None = None
        self._failed = asyncio.Event()

    def show(self, event: Event) -> None:
        if self._failure is not None:
            return
        try:
            self._screen.show(event)
        except CannotPrint as error:
            self._failure = error
            self._failed.set()

    async def watch(self) -> None:
        """Return never. Raise CannotPrint when an event could not be shown."""
        await self._failed.wait()
        assert self._failure is not None
        raise self._failure


async def _start_backends(stack: AsyncExitStack, events: _Events) -> AuthService:
    """The mailbox's servers, a tap before each, and the auth server that sends logins there."""
    store = sample_store()
    backends: dict[str, int] = {}
    for protocol in PROTOCOLS:
        backend = await stack.enter_async_context(Backend(protocol.session, store))
        tap = Tap(
            protocol.name, "fastmail", "backend", ("127.0.0.1", backend.port), events.show, relayed=True
        )
        await stack.enter_async_context(await tap.bind())
        await tap.open()
        backends[protocol.name] = tap.port
    return await stack.enter_async_context(AuthService(store, backends, events.show))


async def _bind_taps(
    stack: AsyncExitStack, wanted: Mapping[str, int], option: str, events: _Events
) -> dict[str, Tap]:
    """What clients connect to: a tap for each protocol, on the port that is wanted, or on any for 0."""
    taps: dict[str, Tap] = {}
    for name, port in wanted.items():
        number = port or _free_port(stack)
        tap = Tap(name, "client", "fastmail", (HOST, number), events.show, relayed=False)
        try:
            await stack.enter_async_context(await tap.bind(number))
        except OSError as error:
            raise CannotStart(
                f"cannot listen on 127.0.0.1:{number} for {name}: {os.strerror(error.errno or 0)}"
                f" (choose other ports with {option})"
            ) from None
        taps[name] = tap
    return taps


def _numbers(taps: Mapping[str, Tap]) -> dict[str, int]:
    return {name: tap.port for name, tap in taps.items()}


def _free_port(stack: AsyncExitStack) -> int:
    """A port that nobody has on any address, or gets: the tap and the proxy each need it on one.

    A socket that is bound and never listens holds it; with SO_REUSEADDR the tap and the proxy still bind it.
    """
    holder = stack.enter_context(socket.socket())
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("", 0))
    return int(holder.getsockname()[1])


async def _while_running(
    proxy: Proxy, stop: asyncio.Event, events: _Events, work: Coroutine[None, None, None]
) -> bool:
    """Run ``work`` until it is done (True), the user stops it, or the proxy ends unasked (CannotStart)."""
    shown = asyncio.ensure_future(work)
    tasks: set[asyncio.Future[Any]] = {shown, *map(asyncio.ensure_future, (stop.wait(), events.watch()))}
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


async def _work(ports: Mapping[str, int], screen: Screen, check: bool, stop: asyncio.Event) -> None:
    """One login by each protocol; then wait for the user, unless ``check``."""
    sent = False
    for protocol in PROTOCOLS:
        async with Conversation(ports[protocol.name]) as talk:
            seen = await protocol.tour(talk)
        if seen is not None and sent and SENT_SUBJECT not in seen:
            raise Surprise(f"the message sent by SMTP cannot be read by {protocol.name.upper()}")
        sent |= protocol is SMTP
    screen.line("The login through the proxy works.")
    if not check:
        screen.line("Running: type one of the commands above in another terminal. Ctrl-C ends the demo.")
        await stop.wait()


def _header(ports: Ports, trusted: Path | None) -> list[str]:
    """How to connect, by command and by mail program."""
    plain, tls = ports.plain, ports.tls
    login = f"{USER}:{PASSWORD}"
    lines = [f"fastmail demo on 127.0.0.1    user: {USER}    password: {PASSWORD}    Ctrl-C ends it"]
    for protocol in (IMAP, POP3, SMTP):
        port = str(plain[protocol.name])
        lines.append(f" {protocol.name.upper()}  {protocol.curl.replace('{port}', port)}")
        lines.append(f"       nc -C 127.0.0.1 {port}    and type: {protocol.typed}")
    lines.append(
        f" mutt  mutt -e 'set ssl_starttls=no ssl_force_tls=no' -f imap://{login}@127.0.0.1:{plain['imap']}/"
    )
    if trusted is None:
        return [*lines, " TLS   not available here: there is no openssl command to make a certificate with"]
    url = shlex.quote(f"imaps://localhost:{tls['imap']}/INBOX;UID=1")
    return [
        *lines,
        f" TLS   curl --cacert {shlex.quote(str(trusted))} -u {login} {url}",
        f"       IMAP {tls['imap']}, POP3 {tls['pop3']}, SMTP {tls['smtp']}; the ports above take STARTTLS",
        f" Thunderbird  server 127.0.0.1, IMAP port {tls['imap']} and SMTP port {tls['smtp']} with SSL/TLS,"
        " normal password; accept the certificate",
    ]
