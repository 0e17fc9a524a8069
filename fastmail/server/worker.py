"""A worker: the engine on a thread of its own, and a uvloop loop for everything else.

Nothing is imported and no file is opened by name once privileges are dropped, except logs being reopened:
the interpreter may lie where the unprivileged user cannot read.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import mmap
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import uvloop

from fastmail._speedups import EVENT_AUTH, EVENT_NAME, EVENT_NOT_ACCEPTING
from fastmail.auth.client import AuthClient, trust
from fastmail.config import ServerConfiguration
from fastmail.logs import LEVELS
from fastmail.resolver import ClientNames, Resolver
from fastmail.server import environment, process
from fastmail.server.cycle import Cycle
from fastmail.server.engine import carried_by_aiohttp, make_engine
from fastmail.server.privileges import DropFailed
from fastmail.server.title import set_title

OK = 0
FAILED = 1  # is replaced by the master
FATAL = 2  # "cannot be respawned": the next one would fail the same way

NESTED = "nested"
"""Value of the environment variable FASTMAIL_ENGINE that puts the engine's epoll into uvloop's."""

CLOSE_SECONDS = 1.0


class Worker:
    """One worker process, from after the fork to its exit code."""

    def __init__(self, cycle: Cycle, counter: mmap.mmap, *, single: bool = False) -> None:
        self._cycle = cycle
        self._log = cycle.log
        self._single = single
        self._nested = os.environ.get("FASTMAIL_ENGINE") == NESTED
        self._code = OK
        self._draining = False
        self._ending = False
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.engine = make_engine(cycle, counter, exclusive=not self._nested)
        self.auth = self._auth_clients()
        self._names = ClientNames(self.engine)
        self._resolvers: dict[int, Resolver] = {}

    def run(self) -> int:
        """Serve until told to stop; returns the exit code."""
        self._loop = loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(self._stray)
        for number, handler in self._signal_handlers().items():
            loop.add_signal_handler(number, self._guarded(handler))
        for number in (signal.SIGUSR2, signal.SIGWINCH) if self._single else (signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        loop.add_reader(self.engine.event_fileno(), self._guarded(self._take_events))
        self._start_engine()
        gc.collect()
        gc.freeze()  # what lives now lives as long as the worker: the collector need not look at it again
        # Only a running loop hears of signals; what came before waits, blocked.
        loop.call_soon(signal.pthread_sigmask, signal.SIG_SETMASK, ())
        loop.run_forever()
        self._close()
        return self._code

    # The engine

    def _start_engine(self) -> None:
        if self._nested:
            self._loop.add_reader(self.engine.fileno(), self._guarded(self._turn))
            return
        # Signals must find the main thread: the new thread inherits a mask that blocks all of them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._thread = threading.Thread(target=self._serve, name="engine")
        self._thread.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _serve(self) -> None:
        try:
            self.engine.run()
        except BaseException as error:
            self._failure = error
        self._loop.call_soon_threadsafe(self._engine_finished)

    def _turn(self) -> None:
        if not self.engine.turn():
            self._engine_finished()

    def _engine_finished(self) -> None:
        self._loop.remove_reader(self.engine.fileno())
        if self._failure is not None:
            self._fail(self._failure)
        elif not (self._ending or self._draining):
            self._fail(RuntimeError("the engine has ended"))
        else:
            self._finish()  # the last session of a graceful shutdown has ended
            self._loop.stop()

    def _take_events(self) -> None:
        # EVENT_DRAINED is passed over: that run() has returned says it as well.
        for kind, handle, payload in self.engine.events():
            if kind == EVENT_AUTH:
                server, request = payload
                self.auth[server].ask(handle, request)
            elif kind == EVENT_NAME:
                server, address = payload
                self._find_name(handle, self._cycle.configuration.servers[server], address.decode())
            elif kind == EVENT_NOT_ACCEPTING:
                self._leave_listeners()

    def _find_name(self, handle: int, server: ServerConfiguration, address: str) -> None:
        """Servers that inherit one ``resolver`` directive share its cache."""
        directive = server["resolver"]
        resolver = self._resolvers.get(id(directive))
        if resolver is None:
            resolver = self._resolvers[id(directive)] = Resolver(directive, self._log)
        self._names.find(handle, address, resolver, server["resolver_timeout"] / 1000)

    def _auth_clients(self) -> dict[int, AuthClient]:
        """By server number. Made while privileges last: certificates may be readable for root only."""
        clients = {}
        for index, server in enumerate(self._cycle.configuration.servers):
            if carried_by_aiohttp(server):
                clients[index] = AuthClient(
                    self.engine,
                    server.auth_http,
                    timeout=server["auth_http_timeout"],
                    keepalive=server["auth_http_keepalive"],
                    tls=trust() if server.auth_http.scheme == "https" else None,
                )
        return clients

    # Orders

    def _signal_handlers(self) -> dict[int, Callable[[], None]]:
        handlers: dict[int, Callable[[], None]] = {
            signal.SIGTERM: self._finish,
            signal.SIGINT: self._finish,
            signal.SIGQUIT: self._drain,
            signal.SIGUSR1: self._reopen_logs,
        }
        if self._single:
            handlers[signal.SIGHUP] = self._refuse_reload
        return handlers

    def _finish(self) -> None:
        """nginx's TERM: sessions are cut."""
        if not self._ending:
            self._ending = True
            self._log.notice("exiting")
            self.engine.stop()

    def _drain(self) -> None:
        """nginx's QUIT: no new sessions, the others run to their end."""
        if not (self._draining or self._ending):
            self._draining = True
            set_title(f"{self._cycle.options.identity}: worker process is shutting down")
            self._log.notice("gracefully shutting down")
            self.engine.shutdown()
            timeout = self._cycle.configuration.main["worker_shutdown_timeout"]
            if timeout:
                self._loop.call_later(timeout / 1000, self._guarded(self.engine.cut_relays))

    def _leave_listeners(self) -> None:
        """Let go of the listening sockets, so that one that no other process has refuses connections."""
        for sock in self._cycle.sockets.values():
            sock.close()

    def _reopen_logs(self) -> None:
        self._log.notice("reopening logs")
        self._cycle.files.reopen(self._log)
        self._log.redirect_stderr()

    def _refuse_reload(self) -> None:
        self._log.error('reconfiguring is not supported yet with "master_process off"')

    # Failures

    def _guarded(self, function: Callable[[], None]) -> Callable[[], None]:
        """What raises here ends the worker: half a worker would keep accepting sessions it cannot serve."""

        def call() -> None:
            try:
                function()
            except Exception as error:
                self._fail(error)

        return call

    def _fail(self, error: BaseException) -> None:
        self._log.alert(f"worker process failed: {type(error).__name__}: {error}")
        self._code = FAILED
        self._ending = True
        self.engine.stop()
        self._loop.stop()

    def _stray(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # A library's trouble with one connection, already an error where it matters: not our end.
        error = context.get("exception")
        self._log.error(f"{context['message']}: {type(error).__name__}" if error else context["message"])

    def _close(self) -> None:
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(TimeoutError):
            self._loop.run_until_complete(asyncio.wait_for(self._close_auth(), CLOSE_SECONDS))
        self.engine.close()
        self._loop.close()
        self._log.notice("exit")

    async def _close_auth(self) -> None:
        await self._names.close()
        for client in self.auth.values():
            await client.close()


def run(cycle: Cycle, counter: mmap.mmap, *, number: int = 0, single: bool = False) -> int:
    """The life of a worker: returns its exit code, raises nothing.

    ``number`` is its place among the workers, from 0.
    ``single``: the process is master and worker in one (``master_process off``), and stays who it is.
    """
    log = cycle.log
    try:
        if not single:
            process.set_limits(cycle)
        try:
            worker = Worker(cycle, counter, single=single)
            if cycle.user is not None and not single:
                cycle.user.become()
            environment.reduce(cycle.configuration.main["env"])
            if not single:
                process.settle(cycle, number)
        except DropFailed as error:
            log.log(LEVELS.index(error.level), str(error))
            return FATAL
        except OSError as error:
            log.emerg("worker process could not start", error)
            return FATAL
        except Exception as error:
            log.emerg(f"worker process could not start: {type(error).__name__}: {error}")
            return FATAL
        return worker.run()
    except Exception as error:
        log.alert(f"worker process failed: {type(error).__name__}: {error}")
        return FAILED
