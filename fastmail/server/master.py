"""The master: starts the workers, replaces those that die, obeys nginx's signals.

Plain Python without threads or a loop. All its signals stay blocked and are taken one at a time with
sigtimedwait(), which tells who sent them; it never touches a session.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import time
from dataclasses import dataclass

from fastmail._speedups import TLSContext
from fastmail.config import ConfigError
from fastmail.logs import CRIT, Log
from fastmail.server import StartFailed, certificates, environment, pidfile, upgrade, worker
from fastmail.server.certificates import CertificateWatch
from fastmail.server.cycle import Cycle, refuse
from fastmail.server.shared import Share, Shared
from fastmail.server.systemd import Notifier
from fastmail.server.title import set_title

_ACTIONS = {
    signal.SIGTERM: ", exiting",
    signal.SIGINT: ", exiting",
    signal.SIGQUIT: ", shutting down",
    signal.SIGHUP: ", reconfiguring",
    signal.SIGUSR1: ", reopening logs",
    signal.SIGUSR2: ", changing binary",
    signal.SIGWINCH: ", stop accepting connections",
    signal.SIGCHLD: "",
    signal.SIGIO: "",
    signal.SIGALRM: "",
}
_IGNORED = (signal.SIGPIPE, signal.SIGSYS)

START_PATIENCE = 10.0  # seconds that new workers get to be ready before the old ones stop accepting
_PR_SET_DUMPABLE = 4  # <sys/prctl.h>

CHANNEL_PAUSE = 0.05  # seconds until a worker is offered again what it did not take
FIRST_PATIENCE = 0.05  # seconds until TERM is sent again; doubled each time
KILL_PATIENCE = 1.0  # once it has grown beyond this, workers are killed
MAX_WORKERS = 1024  # as nginx; a typing error in worker_processes must not take the machine down
RESPAWN_PAUSE = 1.0  # least seconds from one start in a worker's place to the next


@dataclass
class Child:
    """A worker process."""

    number: int  # its place among the workers, from 0
    started: float  # time.monotonic()
    cycle: Cycle  # what it serves
    place: int | None  # in what the workers share
    channel: socket.socket  # where renewed certificates are sent, and where it says that it serves
    serving: bool = False  # has said so
    leaving: bool = False  # was told to stop: not to be replaced
    pending: bytes = b""  # that the channel had no room for

    def take_word(self) -> None:
        """What came by the channel: that it serves, or its end, which is reaped elsewhere."""
        with contextlib.suppress(OSError):
            self.serving = self.channel.recv(1) == worker.SERVING


class Master:
    """Owns the cycle in force, what outlives it, and the workers. ``run()`` returns the exit code."""

    def __init__(
        self,
        cycle: Cycle,
        command: str,
        notifier: Notifier,
        shared: Shared,
        *,
        daemonized: bool,
        predecessor: int | None = None,
    ) -> None:
        """``command`` is the command line that the process title shows.

        ``predecessor`` is the master that has started us to take its place.
        """
        self._cycle = cycle
        self._identity = cycle.options.identity
        self._title = f"{self._identity}: master process {command}"
        self._notifier = notifier
        self._ready = False  # the service manager knows that we serve
        self._daemonized = daemonized
        self._shared = shared
        self._children: dict[int, Child] = {}
        self._respawns: list[tuple[float, int]] = []  # when to start workers in the place of dead ones
        self._predecessor = predecessor
        self._successor: int | None = None  # "new binary process"
        self._accepting = True  # WINCH ends it
        self._own_command = upgrade.own_command()
        self._terminating = False
        self._quitting = False
        self._patience = FIRST_PATIENCE
        self._deadline: float | None = None  # when TERM is sent again
        self._watch = CertificateWatch(cycle.configuration.servers, cycle.log)

    @property
    def _log(self) -> Log:
        return self._cycle.log

    def run(self) -> int:
        """Serve until told to end and the last worker is gone."""
        set_title(self._title)
        self._log.notice("start worker processes")
        self._start_workers()
        self._tell_ready()
        while self._children or not (self._terminating or self._quitting):
            info = _next_signal(self._wait_seconds())
            if info is not None:
                self._obey(info)
            self._act_on_time()
        path = self._cycle.pid_path if self._successor is None else _old(self._cycle.pid_path)
        pidfile.remove(path, self._log)
        self._log.notice("exit")
        self._close_listeners()
        return 0

    # Time

    def _wait_seconds(self) -> float | None:
        times = [when for when, _ in self._respawns]
        if self._deadline is not None:
            times.append(self._deadline)
        if not (self._terminating or self._quitting):
            watch = self._watch.due()
            times += [] if watch is None else [watch]
        if any(child.pending for child in self._children.values()):
            times.append(time.monotonic() + CHANNEL_PAUSE)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _act_on_time(self) -> None:
        now = time.monotonic()
        if self._deadline is not None and now >= self._deadline:
            self._press()
        if not (self._terminating or self._quitting):
            self._watch.look(self._renew)
        for child in self._children.values():
            _push(child)
        due = [number for when, number in self._respawns if when <= now]
        self._respawns = [respawn for respawn in self._respawns if respawn[0] > now]
        for number in due:
            self._start_worker(number)
        if due and not self._ready:
            self._tell_ready()

    def _renew(self, number: int, fresh: TLSContext) -> None:
        """Certificates for the workers of now, and for those that will be started."""
        tls = self._cycle.configuration.servers[number].tls
        assert tls is not None
        data = certificates.message(number, fresh)
        tls.context.renew(fresh)
        for child in self._children.values():
            if child.cycle is self._cycle:
                child.pending += data
                _push(child)

    def _press(self) -> None:
        """Tell the workers to exit, more firmly each time: nginx waits a good second before KILL."""
        number = signal.SIGTERM if self._patience <= KILL_PATIENCE else signal.SIGKILL
        self._tell_workers(number)
        self._deadline = time.monotonic() + self._patience
        self._patience *= 2

    # Signals

    def _obey(self, info: signal.struct_siginfo) -> None:
        number = signal.Signals(info.si_signo)
        sender = f" received from {info.si_pid}" if info.si_pid else " received"
        action = _ACTIONS[number]
        if number == signal.SIGWINCH and not self._daemonized:
            action = ""  # a terminal that is resized sends it too
        elif number == signal.SIGUSR2 and self._may_not_change_binary():
            action = ", ignoring"
        name = "SIGIO" if number == signal.SIGIO else number.name
        self._log.notice(f"signal {number} ({name}){sender}{action}")
        if number == signal.SIGCHLD:
            self._reap()
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._terminate()
        elif number == signal.SIGQUIT:
            self._quit()
        elif number == signal.SIGHUP:
            self._reload()
        elif number == signal.SIGUSR1:
            self._reopen_logs()
        elif number == signal.SIGUSR2:
            self._change_binary()
        elif number == signal.SIGWINCH and self._daemonized:
            self._accepting = False
            self._stop_workers()

    def _terminate(self) -> None:
        if not self._terminating:
            self._terminating = True
            self._tell_leaving("exiting")
            self._respawns.clear()
            self._press()

    def _quit(self) -> None:
        if not (self._quitting or self._terminating):
            self._quitting = True
            self._tell_leaving("shutting down: sessions run to their end")
            self._stop_workers()
            self._close_listeners()  # connections are refused from now on, and a successor can bind

    def _close_listeners(self) -> None:
        self._cycle.close(predecessor=self._predecessor_lives(), successor=self._successor is not None)

    def _stop_workers(self) -> None:
        """Gracefully: sessions run to their end."""
        self._respawns.clear()
        self._tell_workers(signal.SIGQUIT)

    def _reload(self) -> None:
        """Put the configuration of now in force. Whatever is wrong with it, the old one stays."""
        if self._quitting or self._terminating:
            return
        if self._successor is not None:  # nginx: the way back from an upgrade reads nothing
            self._notifier.reloading(self._log)
            self._resume()
            return
        self._log.notice("reconfiguring")
        self._notifier.reloading(self._log)
        old = self._cycle
        try:
            cycle = Cycle.read(old.options, old.log, old)
            try:
                cycle.bind(old)
                if cycle.pid_path != old.pid_path:
                    pidfile.write(cycle.pid_path, f"{os.getpid()}\n")
            except StartFailed:
                cycle.abandon(old)
                raise
        except (ConfigError, StartFailed) as error:
            refuse(error, old.log)
            self._notifier.ready(old.log, f"reload failed: {error}")
            return
        self._cycle = cycle
        self._watch = CertificateWatch(cycle.configuration.servers, cycle.log)
        cycle.replace(old)
        old.files.close()
        cycle.log.redirect_stderr()
        cycle.announce()
        old_workers = list(self._children)
        self._respawns.clear()
        self._accepting = True
        cycle.log.notice("start worker processes")
        self._start_workers()
        self._tell_ready()
        self._tell_workers(signal.SIGQUIT, old_workers)

    def _reopen_logs(self) -> None:
        self._log.notice("reopening logs")
        self._cycle.reopen_logs()
        self._tell_workers(signal.SIGUSR1, leave=False)

    def _tell_workers(self, number: int, pids: list[int] | None = None, *, leave: bool = True) -> None:
        for pid in list(self._children) if pids is None else pids:
            self._children[pid].leaving |= leave
            try:
                os.kill(pid, number)
            except OSError as error:
                self._log.alert(f"kill({pid}, {int(number)}) failed", error)

    # Upgrade

    def _predecessor_lives(self) -> bool:
        return self._predecessor is not None and os.getppid() == self._predecessor

    def _may_not_change_binary(self) -> bool:
        return self._successor is not None or self._predecessor_lives()

    def _change_binary(self) -> None:
        """nginx's USR2: start the program anew beside us, on the same listening sockets."""
        if self._may_not_change_binary():
            self._log.log(CRIT, upgrade.REFUSED)
            return
        if self._quitting or self._terminating:
            return
        self._log.notice("changing binary")
        path, program = self._cycle.pid_path, self._own_command[0]
        try:
            os.rename(path, _old(path))
        except OSError as error:
            end = f'failed before executing new binary process "{program}"'
            self._log.alert(f"rename() {path} to {_old(path)} {end}", error)
            return
        variables = environment.for_new_binary(self._cycle.configuration.main["env"], os.environ)
        variables |= self._notifier.environment()
        descriptors = [sock.fileno() for sock in self._cycle.sockets.values()]
        try:
            pid = os.fork()
        except OSError as error:
            self._log.alert('fork() failed while spawning "new binary process"', error)
            self._take_pid_file_back(f'an attempt to execute new binary process "{program}"')
            return
        if pid == 0:
            upgrade.execute(self._own_command, variables, descriptors, self._log)
        self._successor = pid
        self._log.notice(f"start new binary process {pid}")

    def _lose_successor(self) -> None:
        self._successor = None
        self._take_pid_file_back(f'the new binary process "{self._own_command[0]}" exited')
        if not (self._quitting or self._terminating):
            self._notifier.ready(self._log, self._state())
        if not (self._accepting or self._quitting or self._terminating):
            self._resume()

    def _take_pid_file_back(self, occasion: str) -> None:
        path = self._cycle.pid_path
        try:
            os.rename(_old(path), path)
        except OSError as error:
            self._log.alert(f"rename() {_old(path)} back to {path} failed after {occasion}", error)

    def _resume(self) -> None:
        """Serve again with the configuration in force, after WINCH."""
        self._accepting = True
        self._start_workers()
        self._tell_ready()

    # The service manager

    def _tell_ready(self) -> None:
        """That we serve, or with no worker that we do not; waits for those just started."""
        self._await_workers()
        serving = self._serving()
        if serving or self._ready:
            self._ready = True
            self._notifier.ready(self._log, self._state())
        else:
            self._notifier.status(self._log, self._state())

    def _tell_leaving(self, status: str) -> None:
        """The service ends, or goes on with the other master."""
        other = self._successor or (self._predecessor if self._predecessor_lives() else None)
        if other is None:
            self._notifier.stopping(self._log, status)
        else:
            self._notifier.leave_to(self._log, other)

    def _state(self) -> str:
        return f"worker processes: {self._serving()}"

    # Workers

    def _start_workers(self) -> None:
        wanted = self._cycle.workers
        if wanted > MAX_WORKERS:
            self._log.alert(f"no more than {MAX_WORKERS} processes can be spawned")
        for number in range(min(wanted, MAX_WORKERS)):
            self._start_worker(number)

    def _serving(self) -> int:
        children = self._children.values()
        return sum(child.serving and not child.leaving and child.cycle is self._cycle for child in children)

    def _await_workers(self) -> None:
        """Until each new worker has said that it serves, or has ended; the patience is for both."""
        new = {child.channel.fileno(): child for child in self._children.values() if not child.serving}
        poll = select.poll()
        for fd in new:
            poll.register(fd, select.POLLIN)
        deadline = time.monotonic() + START_PATIENCE
        while new and (left := deadline - time.monotonic()) > 0:
            for fd, _ in poll.poll(left * 1000):
                poll.unregister(fd)
                new.pop(fd).take_word()

    def _start_worker(self, number: int) -> None:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._log.alert('socketpair() failed while spawning "worker process"', error)
            self._respawns.append((time.monotonic() + RESPAWN_PAUSE, number))
            return
        place = self._shared.take()
        try:
            pid = os.fork()
        except OSError as error:
            self._shared.give_back(place)
            ours.close()
            theirs.close()
            self._log.alert('fork() failed while spawning "worker process"', error)
            self._respawns.append((time.monotonic() + RESPAWN_PAUSE, number))
            return
        if pid == 0:
            for child in self._children.values():
                child.channel.close()
            ours.close()
            _be_worker(self._cycle, self._shared.share(place), number, theirs)
        theirs.close()
        ours.setblocking(False)
        self._children[pid] = Child(number, time.monotonic(), self._cycle, place, ours)
        self._log.notice(f"start worker process {pid}")

    def _reap(self) -> None:
        """Take all children that have ended: one SIGCHLD may stand for several."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            kind = "worker" if child is not None else "new binary" if pid == self._successor else "unknown"
            if child is not None:
                child.channel.close()
                self._shared.give_back(child.place)
            sensible = self._report(f"{kind} process {pid}", status)
            if pid == self._successor:
                self._lose_successor()
            elif sensible and child is not None and not child.leaving:
                self._respawns.append((max(time.monotonic(), child.started + RESPAWN_PAUSE), child.number))

    def _report(self, name: str, status: int) -> bool:
        """Log how a process ended. Whether it makes sense to start another in its place."""
        if os.WIFSIGNALED(status):
            core = " (core dumped)" if os.WCOREDUMP(status) else ""
            self._log.alert(f"{name} exited on signal {os.WTERMSIG(status)}{core}")
            return True
        code = os.WEXITSTATUS(status)
        self._log.notice(f"{name} exited with code {code}")
        if code == worker.FATAL:
            self._log.alert(f"{name} exited with fatal code {code} and cannot be respawned")
        return code != worker.FATAL


def _old(path: str) -> str:
    """Where the pid file of a master is whose successor runs."""
    return f"{path}.oldbin"


def block_signals() -> None:
    """From now on signals wait until they are asked for; before anybody learns our pid."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    for number in _ACTIONS:
        signal.signal(number, signal.SIG_DFL)  # whatever the parent ignored: an ignored SIGCHLD hides deaths
    signal.pthread_sigmask(signal.SIG_BLOCK, _ACTIONS)


def _next_signal(seconds: float | None) -> signal.struct_siginfo | None:
    if seconds is None:
        return signal.sigwaitinfo(_ACTIONS)
    return signal.sigtimedwait(_ACTIONS, seconds)


def _push(child: Child) -> None:
    """Send what is pending, as far as there is room; a worker that has gone is reaped elsewhere."""
    try:
        while child.pending:
            child.pending = child.pending[child.channel.send(child.pending) :]
    except BlockingIOError:
        pass
    except OSError:
        child.pending = b""


def _be_worker(cycle: Cycle, share: Share, number: int, channel: socket.socket) -> None:
    """The rest of a forked process's life; does not return into the master's code."""
    code = worker.FAILED
    try:
        set_title(f"{cycle.options.identity}: worker process")
        code = worker.run(cycle, share, number=number, channel=channel)
        _check_leaks()
    finally:
        os._exit(code)


def _check_leaks() -> None:
    """In a build with AddressSanitizer: os._exit() skips the check that a process ends with."""
    libc = ctypes.CDLL(None)
    check = getattr(libc, "__lsan_do_leak_check", None)
    if check is not None:
        libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # it looks at the process from outside, as a debugger does
        check()
