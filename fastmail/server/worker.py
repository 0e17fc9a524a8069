"""A worker: a service of the engine, and a uvloop loop for everything else.

Nothing is imported and no file is opened by name once privileges are dropped, except logs being reopened:
the interpreter may lie where the unprivileged user cannot read.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from fastmail._speedups import TLSError
from fastmail.config import ConfigError
from fastmail.logs import LEVELS, Log
from fastmail.server import StartFailed, environment, pidfile, process
from fastmail.server.certificates import CertificateWatch, Receiver
from fastmail.server.cycle import Cycle, refuse
from fastmail.server.loop import new_event_loop
from fastmail.server.outcome import Outcomes
from fastmail.server.privileges import DropFailed
from fastmail.server.service import Service
from fastmail.server.shared import Share
from fastmail.server.systemd import Notifier
from fastmail.server.title import set_title

OK = 0
FAILED = 1  # is replaced by the master
FATAL = 2  # "cannot be respawned": the next one would fail the same way

SERVING = b"s"
"""What a worker tells its master by the channel, once."""

NESTED = "nested"
"""Value of the environment variable FASTMAIL_ENGINE that puts the engine's epoll into uvloop's."""

CLOSE_SECONDS = 1.0


class Worker:
    """One worker process, from after the fork to its exit code.

    It has one service. With ``single`` (``master_process off``) it obeys HUP as well, and has another for
    each earlier configuration whose sessions have not ended yet.
    """

    def __init__(
        self, cycle: Cycle, share: Share, *, single: bool = False, notifier: Notifier | None = None
    ) -> None:
        """``notifier`` is for a single process; a master tells for its workers."""
        self.cycle = cycle
        self._notifier = notifier or Notifier()
        self._share = share
        self._single = single
        self._nested = os.environ.get("FASTMAIL_ENGINE") == NESTED
        self._code = OK
        self._draining = False
        self._ending = False
        self._retiring: set[asyncio.Task[None]] = set()
        self._outcomes = Outcomes(cycle.log) if single else None
        self._service = Service(cycle, share, nested=self._nested)
        self._services = [self._service]  # that have not been closed
        self.channel: socket.socket | None = None
        self._receiver = Receiver()

    @property
    def _log(self) -> Log:
        return self.cycle.log

    def run(self) -> int:
        """Serve until told to stop; returns the exit code."""
        self._loop = loop = new_event_loop()
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(self._stray)
        for number, handler in self._signal_handlers().items():
            loop.add_signal_handler(number, self._guarded(handler))
        for number in (signal.SIGUSR2, signal.SIGWINCH) if self._single else (signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        self._start(self._service)
        self._expect_certificates()
        gc.collect()
        gc.freeze()  # what lives now lives as long as the worker: the collector need not look at it again
        # Only a running loop hears of signals; what came before waits, blocked.
        loop.call_soon(signal.pthread_sigmask, signal.SIG_SETMASK, ())
        loop.call_soon(self._tell_serving)
        loop.run_forever()
        self._close()
        return self._code

    # Services

    def _start(self, service: Service) -> None:
        service.start(
            self._loop, self._guarded, not_accepting=self._leave_listeners, finished=self._service_finished
        )

    def _leave_listeners(self, service: Service) -> None:
        """Let go of the listening sockets, so that one that no other process has refuses connections."""
        if service is self._service:
            for sock in service.cycle.sockets.values():
                sock.close()
        else:
            self.cycle.replace(service.cycle)

    def _service_finished(self, service: Service) -> None:
        if service.failure is not None:
            self._fail(service.failure)
        elif not (self._ending or service.draining):
            self._fail(RuntimeError("the engine has ended"))
        elif service is not self._service:
            task = self._loop.create_task(self._retire(service))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        else:
            self._end_with_the_last()

    async def _retire(self, service: Service) -> None:
        """An earlier configuration's last session has ended."""
        await service.close()
        self._services.remove(service)
        service.cycle.files.close()
        self._end_with_the_last()

    def _end_with_the_last(self) -> None:
        """The last session of a graceful shutdown has ended, or all have been cut."""
        if self._service.ended and self._services == [self._service]:
            self._finish()
            self._loop.stop()

    # Orders

    def _signal_handlers(self) -> dict[int, Callable[[], None]]:
        handlers: dict[int, Callable[[], None]] = {
            signal.SIGTERM: self._finish,
            signal.SIGINT: self._finish,
            signal.SIGQUIT: self._drain,
            signal.SIGUSR1: self._reopen_logs,
        }
        if self._single:
            handlers[signal.SIGHUP] = self._reload
        return handlers

    def _tell_serving(self) -> None:
        if self.channel is not None:
            with contextlib.suppress(OSError):  # the master has gone
                self.channel.send(SERVING)
        self._notifier.ready(self._log, "serving")

    def _finish(self) -> None:
        """nginx's TERM: sessions are cut."""
        if not self._ending:
            self._ending = True
            self._notifier.stopping(self._log, "exiting")
            self._log.notice("exiting")
            for service in self._services:
                service.stop()

    def _drain(self) -> None:
        """nginx's QUIT: no new sessions, the others run to their end."""
        if not (self._draining or self._ending):
            self._draining = True
            self._notifier.stopping(self._log, "shutting down: sessions run to their end")
            set_title(f"{self.cycle.options.identity}: worker process is shutting down")
            self._log.notice("gracefully shutting down")
            for service in self._services:
                service.drain()

    def _reopen_logs(self) -> None:
        self._log.notice("reopening logs")
        for service in self._services:
            service.cycle.files.reopen(self._log)
        self.cycle.redirect_stderr()

    def _reload(self) -> None:
        """nginx's HUP in a single process: new connections get the configuration of now, sessions go on with
        theirs."""
        number = self._outcomes.begin() if self._outcomes else 0
        failure = self._reconfigure()
        if self._outcomes:
            self._outcomes.end(number, failure)

    def _reconfigure(self) -> str | None:
        """None, or why the configuration of before stays."""
        if self._draining or self._ending:
            return "the process is shutting down"
        self._log.notice("reconfiguring")
        self._notifier.reloading(self._log)
        old = self.cycle
        try:
            cycle = old.successor()
            try:
                service = Service(cycle, self._share, nested=self._nested)
            except Exception as error:
                cycle.abandon(old)
                raise StartFailed(f"reload failed: {error}") from error
        except (ConfigError, StartFailed) as error:
            refuse(error, old.log)
            self._notifier.ready(old.log, f"reload failed: {error}")
            return str(error)
        self.cycle = cycle
        cycle.redirect_stderr()
        cycle.announce()
        former, self._service = self._service, service
        self._services.append(service)
        self._start(service)
        self._watch_certificates()
        former.drain()
        self._notifier.ready(cycle.log, "serving")
        return None

    # Certificates

    def _expect_certificates(self) -> None:
        if self.channel is not None:
            self.channel.setblocking(False)
            self._loop.add_reader(self.channel.fileno(), self._guarded(self._take_certificates))
        elif self._single:
            self._watch_certificates()

    def _take_certificates(self) -> None:
        assert self.channel is not None
        try:
            data = self.channel.recv(65536)
        except BlockingIOError:
            return
        if not data:  # the master has gone
            self._loop.remove_reader(self.channel.fileno())
            return
        try:
            self._receiver.feed(data, self._service.renew_certificates)
        except (TLSError, BufferError) as error:
            self._log.error(f"certificates could not be renewed: {error}")

    def _watch_certificates(self) -> None:
        """As the master does, in a process without one."""
        watch = CertificateWatch(self.cycle.configuration.servers, self._log)
        cycle = self.cycle

        def look() -> None:
            if self.cycle is cycle:
                watch.look(self._service.renew_certificates)
                again()

        def again() -> None:
            due = watch.due()
            if due is not None:
                self._loop.call_later(max(0.0, due - time.monotonic()), self._guarded(look))

        again()

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
        for service in self._services:
            service.stop()
        self._loop.stop()

    def _stray(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # A library's trouble with one connection, already an error where it matters: not our end.
        error = context.get("exception")
        self._log.error(f"{context['message']}: {type(error).__name__}" if error else context["message"])

    def _close(self) -> None:
        for service in self._services:
            with contextlib.suppress(TimeoutError):
                self._loop.run_until_complete(asyncio.wait_for(service.close(), CLOSE_SECONDS))
        self._loop.close()
        self._log.notice("exit")


def run(cycle: Cycle, share: Share, *, number: int = 0, channel: socket.socket | None = None) -> int:
    """The life of a worker of a master: returns its exit code, raises nothing.

    ``number`` is its place among the workers, from 0; by ``channel`` the master sends renewed certificates.
    """

    def settle() -> None:
        if cycle.user is not None:
            cycle.user.become()
            process.allow_core()
        environment.reduce(cycle.configuration.main["env"])
        process.settle(cycle, number)

    process.set_limits(cycle)
    worker = _make(cycle, share, settle)
    if worker is not None:
        worker.channel = channel
    return FATAL if worker is None else _run(worker)


def run_single(cycle: Cycle, share: Share, notifier: Notifier) -> int:
    """``master_process off``: this process is the only worker, and stays who it is. Returns the exit code."""
    worker = _make(cycle, share, lambda: environment.reduce(cycle.configuration.main["env"]), notifier)
    code = FATAL if worker is None else _run(worker)
    last = cycle if worker is None else worker.cycle
    pidfile.remove(last.pid_path, last.log)
    last.close()
    return code


def _make(
    cycle: Cycle, share: Share, settle: Callable[[], None], notifier: Notifier | None = None
) -> Worker | None:
    """A worker that is who it will be, with ``notifier`` a single one.

    None: it cannot be made, which is logged.
    """
    log = cycle.log
    try:
        worker = Worker(cycle, share, single=notifier is not None, notifier=notifier)
        settle()
    except DropFailed as error:
        log.log(LEVELS.index(error.level), str(error))
    except OSError as error:
        log.emerg("worker process could not start", error)
    except Exception as error:
        log.emerg(f"worker process could not start: {type(error).__name__}: {error}")
    else:
        return worker
    return None


def _run(worker: Worker) -> int:
    try:
        return worker.run()
    except Exception as error:
        worker.cycle.log.alert(f"worker process failed: {type(error).__name__}: {error}")
        return FAILED
