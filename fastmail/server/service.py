"""One configuration being served in this process: its engine, and what the engine asks of Python."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable

from fastmail._speedups import EVENT_AUTH, EVENT_NAME, EVENT_NAME_DROPPED, EVENT_NOT_ACCEPTING, TLSContext
from fastmail.auth.client import AuthClient
from fastmail.config import ServerConfiguration
from fastmail.resolver import ClientNames, Resolver
from fastmail.server.cycle import Cycle
from fastmail.server.engine import carried_by_aiohttp, make_engine
from fastmail.server.shared import Share

Guard = Callable[[Callable[[], None]], Callable[[], None]]


class Service:
    """An engine on a thread of its own (or ``nested`` in the loop), fed from the loop."""

    def __init__(self, cycle: Cycle, share: Share, *, nested: bool) -> None:
        self.cycle = cycle
        self.draining = False
        self.failure: BaseException | None = None
        self._nested = nested
        self._thread: threading.Thread | None = None
        self.ended = False  # run() has returned
        self._closed = False
        self.engine = make_engine(cycle, share, exclusive=not nested)
        self._auth = self._auth_clients()
        self._names = ClientNames(self.engine)
        self._resolvers: dict[int, Resolver] = {}

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        guarded: Guard,
        *,
        not_accepting: Callable[[Service], None],
        finished: Callable[[Service], None],
    ) -> None:
        """Serve. Both callbacks come on the loop: listeners may be closed; run() has returned."""
        self._loop = loop
        self._guarded = guarded
        self._not_accepting = not_accepting
        self._finished = finished
        loop.add_reader(self.engine.event_fileno(), guarded(self._take_events))
        if self._nested:
            loop.add_reader(self.engine.fileno(), guarded(self._turn))
            return
        # Signals must find the main thread: the new thread inherits a mask that blocks all of them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._thread = threading.Thread(target=self._serve, name="engine")
        self._thread.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def renew_certificates(self, number: int, fresh: TLSContext) -> None:
        """New handshakes with the server of that number get these. Raises BufferError."""
        self.engine.renew_certificates(self.cycle.servers[number], fresh)

    def stop(self) -> None:
        """Sessions are cut."""
        self.engine.stop()

    def drain(self) -> None:
        """No new sessions; the others run to their end, relays at most ``worker_shutdown_timeout``."""
        if self.draining:
            return
        self.draining = True
        self.engine.shutdown()
        timeout = self.cycle.configuration.main["worker_shutdown_timeout"]
        if timeout:
            self._loop.call_later(timeout / 1000, self._guarded(self._cut_relays))

    async def close(self) -> None:
        """After ``finished``: give everything back."""
        if self._thread is not None:
            self._thread.join()
        self._closed = True
        self._loop.remove_reader(self.engine.event_fileno())
        await self._names.close()
        for client in self._auth.values():
            await client.close()
        self.engine.close()

    def _serve(self) -> None:
        try:
            self.engine.run()
        except BaseException as error:
            self.failure = error
        self._loop.call_soon_threadsafe(self._end)

    def _turn(self) -> None:
        if not self.engine.turn():
            self._loop.remove_reader(self.engine.fileno())
            self._end()

    def _end(self) -> None:
        self.ended = True
        if not self._closed:
            self._finished(self)

    def _cut_relays(self) -> None:
        if not self._closed:
            self.engine.cut_relays()

    def _take_events(self) -> None:
        # EVENT_DRAINED is passed over: that run() has returned says it as well.
        for kind, handle, payload in self.engine.events():
            if kind == EVENT_AUTH:
                server, request = payload
                self._auth[server].ask(handle, request)
            elif kind == EVENT_NAME:
                server, address = payload
                self._find_name(handle, self.cycle.configuration.servers[server], address.decode())
            elif kind == EVENT_NAME_DROPPED:
                self._names.drop(handle)
            elif kind == EVENT_NOT_ACCEPTING:
                self._not_accepting(self)

    def _find_name(self, handle: int, server: ServerConfiguration, address: str) -> None:
        """Servers that inherit one ``resolver`` directive share its cache."""
        directive = server["resolver"]
        resolver = self._resolvers.get(id(directive))
        if resolver is None:
            resolver = self._resolvers[id(directive)] = Resolver(directive, self.cycle.log)
        self._names.find(handle, address, resolver, server["resolver_timeout"] / 1000)

    def _auth_clients(self) -> dict[int, AuthClient]:
        """By server number."""
        clients = {}
        for index, server in enumerate(self.cycle.configuration.servers):
            if carried_by_aiohttp(server):
                clients[index] = AuthClient(
                    self.engine,
                    server.auth_http,
                    timeout=server["auth_http_timeout"],
                    keepalive=server["auth_http_keepalive"],
                    keepalive_time=server["auth_http_keepalive_time"],
                    tls=server.auth_tls,
                    tls_name=server["auth_http_ssl_name"],
                    error=self.cycle.log.error,
                )
        return clients
