"""The master: starts the workers, replaces those that die, obeys nginx's signals.

Plain Python without threads or a loop. All its signals stay blocked and are taken one at a time with
sigtimedwait(), which tells who sent them; nothing else is waited for. It never touches a session.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

from fastmail._speedups import TLSContext
from fastmail.config import ConfigError
from fastmail.logs import CRIT, Log
from fastmail.server import StartFailed, certificates, environment, pidfile, upgrade, worker, workers
from fastmail.server.certificates import CertificateWatch
from fastmail.server.cycle import Cycle, refuse
from fastmail.server.outcome import Outcomes
from fastmail.server.shared import Shared
from fastmail.server.systemd import Notifier
from fastmail.server.title import set_title
from fastmail.server.workers import CHANNEL_SIGNAL, Child, SpawnFailed, Workers

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
_AWAITED = (*_ACTIONS, CHANNEL_SIGNAL)
_IGNORED = (signal.SIGPIPE, signal.SIGSYS)

FIRST_PATIENCE = 0.05  # seconds until TERM is sent again; doubled each time
KILL_PATIENCE = 1.0  # once it has grown beyond this, workers are killed
RESPAWN_PAUSE = 1.0  # least seconds from one start in a worker's place to the next


@dataclass
class Reload:
    """A configuration that takes over once all its workers serve."""

    number: int  # among the outcomes
    cycle: Cycle
    workers: int  # that are to serve


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
        self._outcomes = Outcomes(cycle.log)
        self._workers = Workers(self._identity, shared, self._release)
        self._reloading: Reload | None = None
        self._starting: list[int] = []  # reloads that have started the workers of the configuration in force
        self._announced = False  # how the workers' start went has been told
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
        while self._workers or not self._leaving:
            self._act_on_time()
            info = _next_signal(self._wait_seconds())
            if info is not None:
                self._obey(info)
        path = self._cycle.pid_path if self._successor is None else _old(self._cycle.pid_path)
        pidfile.remove(path, self._log)
        self._log.notice("exit")
        self._close_listeners()
        return 0

    @property
    def _leaving(self) -> bool:
        return self._terminating or self._quitting

    # Time

    def _wait_seconds(self) -> float | None:
        times = [when for when, _ in self._respawns] + self._workers.due()
        if self._deadline is not None:
            times.append(self._deadline)
        if not self._leaving:
            watch = self._watch.due()
            times += [] if watch is None else [watch]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _act_on_time(self) -> None:
        now = time.monotonic()
        if self._deadline is not None and now >= self._deadline:
            self._press()
        if not self._leaving:
            self._watch.look(self._renew)
        self._workers.push()
        for child in self._workers.late(now):
            self._kill_late(child)
        due = [number for when, number in self._respawns if when <= now]
        self._respawns = [respawn for respawn in self._respawns if respawn[0] > now]
        for number in due:
            self._start_worker(number)
            self._announced &= self._ready
        self._look_at_starts()

    def _kill_late(self, child: Child) -> None:
        problem = f"worker process {child.pid} did not start within {workers.START_PATIENCE:g} seconds"
        if not self._fail_reload(child, problem):
            self._log.emerg(f"{problem}, killing it")
        self._workers.tell(signal.SIGKILL, self._log, [child], leave=child.leaving)

    def _renew(self, number: int, fresh: TLSContext) -> None:
        """Certificates for the workers of now, and for those that will be started."""
        tls = self._cycle.configuration.servers[number].tls
        assert tls is not None
        data = certificates.message(number, fresh)
        tls.context.renew(fresh)
        for child in self._workers:
            if child.cycle is self._cycle:
                child.pending += data
                child.push()

    def _press(self) -> None:
        """Tell the workers to exit, more firmly each time: nginx waits a good second before KILL."""
        number = signal.SIGTERM if self._patience <= KILL_PATIENCE else signal.SIGKILL
        self._workers.tell(number, self._log, self._workers)
        self._deadline = time.monotonic() + self._patience
        self._patience *= 2

    # Signals

    def _obey(self, info: signal.struct_siginfo) -> None:
        number = signal.Signals(info.si_signo)
        if number in (CHANNEL_SIGNAL, signal.SIGIO):  # SIGIO: the kernel could not queue the other one
            self._workers.take_words()
        if number == CHANNEL_SIGNAL:
            return
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
            self._abandon_reload("stop accepting connections")
            self._accepting = False
            self._stop_workers()

    def _terminate(self) -> None:
        if not self._terminating:
            self._terminating = True
            self._abandon_reload("exiting")
            self._tell_leaving("exiting")
            self._respawns.clear()
            self._press()

    def _quit(self) -> None:
        if not self._leaving:
            self._quitting = True
            self._abandon_reload("shutting down")
            self._tell_leaving("shutting down: sessions run to their end")
            self._stop_workers()
            self._close_listeners()  # connections are refused from now on, and a successor can bind

    def _close_listeners(self) -> None:
        self._cycle.close(predecessor=self._predecessor_lives(), successor=self._successor is not None)

    def _stop_workers(self) -> None:
        """Gracefully: sessions run to their end."""
        self._respawns.clear()
        self._workers.tell(signal.SIGQUIT, self._log, self._workers)

    # Reload

    def _reload(self) -> None:
        """Begin to put the configuration of now in force. Whatever is wrong with it, the old one stays."""
        number = self._outcomes.begin()
        if self._leaving:
            self._outcomes.end(number, "the master is shutting down")
            return
        self._notifier.reloading(self._log)
        if self._successor is not None:  # nginx: the way back from an upgrade reads nothing
            self._starting.append(number)
            self._resume()
            return
        self._log.notice("reconfiguring")
        former = self._reloading
        try:
            cycle = self._cycle.successor(former.cycle if former else None)
        except (ConfigError, StartFailed) as error:
            refuse(error, self._log)
            self._outcomes.end(number, str(error))
            if former is None:
                self._tell(f"reload failed: {error}")
            return
        places = self._places(cycle)
        self._reloading = Reload(number, cycle, len(places))
        if former is not None:
            self._log.notice("the reload before has not finished and is abandoned")
            self._outcomes.supersede(former.number, number)
            self._drop(former.cycle)
        cycle.announce()
        cycle.log.notice("start worker processes")
        try:
            for place in places:
                self._workers.spawn(cycle, place)
        except SpawnFailed as error:
            self._lose_reload(str(error))

    def _take_over(self, reload: Reload) -> None:
        """All workers of the new configuration serve."""
        old, self._cycle, self._reloading = self._cycle, reload.cycle, None
        self._watch = CertificateWatch(self._cycle.configuration.servers, self._cycle.log)
        self._cycle.replace(old)
        old.files.close()
        self._cycle.redirect_stderr()
        self._respawns.clear()
        self._accepting = self._announced = True
        self._tell(self._state())
        self._end_starts(None)
        self._outcomes.end(reload.number)
        others = [child for child in self._workers if child.cycle is not self._cycle]
        self._workers.tell(signal.SIGQUIT, self._log, others)

    def _fail_reload(self, child: Child, problem: str) -> bool:
        """A worker has failed. Whether the reload has with it: that needs all of its workers."""
        if self._reloading is None or child.leaving or child.cycle is not self._reloading.cycle:
            return False
        self._lose_reload(problem)
        return True

    def _lose_reload(self, problem: str) -> None:
        assert self._reloading is not None
        self._log.emerg(f"reload failed, keeping the old workers: {problem}")
        self._end_reload(self._reloading, problem)
        self._tell(f"reload failed: {problem}")

    def _abandon_reload(self, occasion: str) -> None:
        """Something else is to be done than to wait for the new workers."""
        if self._reloading is not None:
            self._log.notice(f"reload abandoned, {occasion}")
            self._end_reload(self._reloading, f"abandoned, {occasion}")
            if not self._leaving:
                self._tell(self._state())

    def _end_reload(self, reload: Reload, problem: str) -> None:
        self._reloading = None
        self._outcomes.end(reload.number, problem)
        self._drop(reload.cycle)

    def _drop(self, cycle: Cycle) -> None:
        """Its workers may serve already: they end as those of an old one do; any that hang are killed."""
        self._workers.tell(signal.SIGQUIT, self._log, self._workers.of(cycle))
        cycle.abandon(self._cycle, self._reloading.cycle if self._reloading else None)

    def _reopen_logs(self) -> None:
        self._log.notice("reopening logs")
        self._cycle.reopen_logs()
        if self._reloading is not None:
            self._reloading.cycle.files.reopen(self._log)
        self._workers.tell(signal.SIGUSR1, self._log, self._workers, leave=False)

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
        if self._leaving:
            return
        self._abandon_reload("changing binary")
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
        if not self._leaving:
            self._tell(self._state())
        if not (self._accepting or self._leaving):
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

    def _release(self, own: Cycle) -> None:
        """In a worker: let go of what is the master's alone, or another configuration's."""
        self._outcomes.close()
        for cycle in (self._cycle, self._reloading.cycle if self._reloading else own):
            if cycle is not own:
                cycle.release(own)

    # The service manager

    def _tell(self, status: str) -> None:
        """How we are: ready from when the first worker has served."""
        self._ready = self._ready or self._workers.serving(self._cycle) > 0
        if self._ready:
            self._notifier.ready(self._log, status)
        else:
            self._notifier.status(self._log, status)

    def _tell_leaving(self, status: str) -> None:
        """The service ends, or goes on with the other master."""
        other = self._successor or (self._predecessor if self._predecessor_lives() else None)
        if other is None:
            self._notifier.stopping(self._log, status)
        else:
            self._notifier.leave_to(self._log, other)

    def _state(self) -> str:
        return f"worker processes: {self._workers.serving(self._cycle)}"

    # Workers

    def _places(self, cycle: Cycle) -> range:
        wanted = cycle.workers
        if wanted > workers.MAX_WORKERS:
            self._log.alert(f"no more than {workers.MAX_WORKERS} processes can be spawned")
        return range(min(wanted, workers.MAX_WORKERS))

    def _start_workers(self) -> None:
        """Those of the configuration in force; how that goes is told when it is known."""
        self._announced = False
        for number in self._places(self._cycle):
            self._start_worker(number)

    def _start_worker(self, number: int) -> None:
        try:
            self._workers.spawn(self._cycle, number)
        except SpawnFailed as error:
            self._log.alert(str(error))
            self._respawns.append((time.monotonic() + RESPAWN_PAUSE, number))

    def _look_at_starts(self) -> None:
        """Go on with what waits for workers to serve."""
        reload = self._reloading
        if self._leaving:
            self._end_starts("the master is shutting down")
        elif reload is not None:
            if self._workers.serving(reload.cycle) == reload.workers:
                self._take_over(reload)
        elif not self._announced and not any(child.starting for child in self._workers.of(self._cycle)):
            self._announced = True
            self._tell(self._state())
            self._end_starts(None if self._workers.serving(self._cycle) else "no worker process serves")

    def _end_starts(self, failure: str | None) -> None:
        for number in self._starting:
            self._outcomes.end(number, failure)
        self._starting.clear()

    def _reap(self) -> None:
        for pid, child, status in self._workers.reap():
            kind = "worker" if child is not None else "new binary" if pid == self._successor else "unknown"
            name = f"{kind} process {pid}"
            sensible = self._report(name, status)
            if pid == self._successor:
                self._lose_successor()
            elif child is None or child.leaving or self._fail_reload(child, _end(name, status)):
                continue
            elif sensible:
                self._respawns.append((max(time.monotonic(), child.started + RESPAWN_PAUSE), child.number))

    def _report(self, name: str, status: int) -> bool:
        """Log how a process ended. Whether it makes sense to start another in its place."""
        if os.WIFSIGNALED(status):
            core = " (core dumped)" if os.WCOREDUMP(status) else ""
            self._log.alert(f"{_end(name, status)}{core}")
            return True
        code = os.WEXITSTATUS(status)
        self._log.notice(_end(name, status))
        if code == worker.FATAL:
            self._log.alert(f"{name} exited with fatal code {code} and cannot be respawned")
        return code != worker.FATAL


def _old(path: str) -> str:
    """Where the pid file of a master is whose successor runs."""
    return f"{path}.oldbin"


def _end(name: str, status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"{name} exited on signal {os.WTERMSIG(status)}"
    return f"{name} exited with code {os.WEXITSTATUS(status)}"


def block_signals() -> None:
    """From now on signals wait until they are asked for; before anybody learns our pid."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    for number in _AWAITED:
        signal.signal(number, signal.SIG_DFL)  # whatever the parent ignored: an ignored SIGCHLD hides deaths
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)


def _next_signal(seconds: float | None) -> signal.struct_siginfo | None:
    if seconds is None:
        return signal.sigwaitinfo(_AWAITED)
    return signal.sigtimedwait(_AWAITED, seconds)
