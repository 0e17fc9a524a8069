"""What is in force: one configuration and what the master holds for it (nginx's "cycle").

A reload makes a new one beside the old one; only when everything in it is ready does it take its place.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from dataclasses import dataclass, replace

from fastmail import config
from fastmail.config import ConfigError, Configuration, Defaults, ErrorLog, ServerConfiguration
from fastmail.logs import ERROR, LEVELS, Log, LogFiles, Syslog, describe
from fastmail.server import StartFailed, pidfile
from fastmail.server.auth_caches import auth_caches
from fastmail.server.engine import make_server
from fastmail.server.privileges import User
from fastmail.server.session_caches import SessionCaches, session_caches
from fastmail.server.sockets import Listen, ListeningSocket, Sockets, adjust, key, open_all
from fastmail.server.systemd import Activated
from fastmail.server.upgrade import Inherited


@dataclass(frozen=True)
class Options:
    """What the command line said; every reload reads the configuration with the same."""

    identity: str  # "fastmail" or "nginx": the name in messages, and the built-in paths
    prefix: str  # ends in a slash
    path: str  # the configuration file
    globals_text: str = ""  # -g
    bootstrap_log: str | None = None  # -e: also the error_log that is used when none is configured
    pid: str | None = None  # --pid
    error_log: str | None = None  # --error-log

    def load(self) -> Configuration:
        """Read the configuration. Raises ConfigError."""
        defaults = Defaults.of(self.identity)
        if self.bootstrap_log is not None:
            defaults = replace(defaults, error_log=self.bootstrap_log)
        return config.load(
            self.path, prefix=self.prefix, globals_text=self.globals_text,
            identity=self.identity, defaults=defaults,
        )  # fmt: skip

    def prefixed(self, path: str) -> str:
        return path if path.startswith("/") else self.prefix + path

    def pid_path(self, configuration: Configuration) -> str:
        return self.prefixed(self.pid if self.pid is not None else configuration.main["pid"])


class Cycle:
    """One configuration with its logs and listening sockets."""

    def __init__(self, options: Options, configuration: Configuration, old: Cycle | None = None) -> None:
        """Check the whole, open the logs. Raises ConfigError and StartFailed, with nothing left open.

        What ``old`` shares with its workers beyond a reload goes on here.
        """
        self.options = options
        self.configuration = configuration
        self.pid_path = options.pid_path(configuration)
        self.pid_written = False  # by us beside the one in force
        self.user = User.of(*configuration.main["user"])
        self.lock_file: str = configuration.main["lock_file"]
        caches: SessionCaches = {} if old is None else old.session_caches
        self.session_caches: SessionCaches = session_caches(configuration.servers, caches)
        kept_answers = auth_caches(configuration.servers)
        self.sockets: Sockets = {}
        self.files = LogFiles()
        try:
            targets = self.files.targets(self._main_logs())
            self.log = Log(targets, others=self.files.others)
            self.files.targets(configuration.mail_error_log)  # also those that no server writes to
            self.servers = [
                make_server(server, self._targets(server), kept_answers) for server in configuration.servers
            ]
        except OSError as error:
            self.files.close()
            raise StartFailed(f'open() "{error.filename}" failed {describe(error)}') from error
        except StartFailed:
            self.files.close()
            raise

    @classmethod
    def read(cls, options: Options, log: Log, old: Cycle | None = None) -> Cycle:
        """The configuration of now, its warnings written to ``log``. Raises ConfigError, StartFailed."""
        configuration = options.load()
        report(configuration.messages, log)
        report(configuration.check(), log)
        if old is not None and configuration.main["lock_file"] != old.lock_file:
            log.emerg('"lock_file" could not be changed, ignored')
        cycle = cls(options, configuration, old)
        if old is not None:
            cycle.lock_file = old.lock_file
        return cycle

    def successor(self, other: Cycle | None = None) -> Cycle:
        """The configuration of now, ready to take our place; logged to ours. Nothing of ours is changed.

        ``other`` is one that was to take it and may still. Raises ConfigError, StartFailed: all is undone.
        """
        try:
            cycle = Cycle.read(self.options, self.log, self)
            try:
                cycle.bind(self, other)
                if cycle.pid_path != self.pid_path:
                    pidfile.write(cycle.pid_path, f"{os.getpid()}\n")
                    cycle.pid_written = True
            except BaseException:
                cycle.abandon(self, other)
                raise
        except OSError as error:  # a mapping or a descriptor that is not to be had
            raise StartFailed(f"reconfiguring failed {describe(error)}") from error
        except MemoryError as error:
            raise StartFailed("reconfiguring failed: out of memory") from error
        return cycle

    @property
    def workers(self) -> int:
        """How many workers to run (``worker_processes``)."""
        number: int = self.configuration.main["worker_processes"]
        return number

    @property
    def _listens(self) -> list[Listen]:
        return [listen for server in self.configuration.servers for listen in server.listens]

    def bind(
        self,
        current: Cycle | None = None,
        other: Cycle | None = None,
        *,
        inherited: Inherited | None = None,
        activated: Activated | None = None,
        testing: bool = False,
    ) -> None:
        """Open the listening sockets that are not there yet.

        ``current``, ``other``, a predecessor or systemd may have them. Raises StartFailed.
        """
        listens = self._listens
        log = current.log if current is not None else self.log
        known = {**(other.sockets if other else {}), **(current.sockets if current else {})}
        for source in (inherited, activated):
            if source is None:
                continue
            for listen in listens:
                sock = source.claim(key(listen))
                if sock is not None:
                    known[key(listen)] = ListeningSocket.adopt(listen, sock, lent=source is activated)
            source.close(self.log)
        self.sockets = open_all(listens, known, log, testing=testing)
        if current is None and not testing:
            adjust(listens, self.sockets, log)

    def announce(self) -> None:
        """nginx's first notice of a configuration in force."""
        self.log.notice('using the "epoll" event method')
        self.warn()

    def warn(self) -> None:
        """Say what will not work although the configuration can be put in force."""
        self._warn_limits()
        self._warn_syslog()

    def _warn_limits(self) -> None:
        """A warning if workers cannot have as many connections as they are to serve."""
        limit = self.configuration.main["worker_rlimit_nofile"]
        if limit is None:
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        connections = self.configuration.events["worker_connections"]
        if connections > limit != resource.RLIM_INFINITY:
            self.log.warn(f"{connections} worker_connections exceed open file resource limit: {limit}")

    def _warn_syslog(self) -> None:
        """An alert, worded as nginx's, for each syslog server that cannot be reached."""
        for log in self.files.others.values():
            if isinstance(log, Syslog) and (error := log.problem()) is not None:
                server = log.server.names[0]
                self.log.alert(
                    f"connect() failed {describe(error)} while logging to syslog, server: {server}"
                )

    def replace(self, old: Cycle) -> None:
        """Take the place of ``old``: let go of the sockets and the pid file that only that one had."""
        adjust(self._listens, self.sockets, self.log)
        for name in old.sockets.keys() - self.sockets.keys():
            old.sockets[name].remove(self.log)
        if old.pid_path != self.pid_path:
            pidfile.remove(old.pid_path, self.log)

    def abandon(self, *others: Cycle | None) -> None:
        """Undo what was opened for this one alone; the first of ``others`` is in force."""
        stay = [other for other in others if other is not None]
        for name, sock in self.sockets.items():
            if not any(other.sockets.get(name) is sock for other in stay):
                sock.remove(stay[0].log)
        if self.pid_written and all(other.pid_path != self.pid_path for other in stay):
            pidfile.remove(self.pid_path, stay[0].log)
        self.files.close()

    def release(self, own: Cycle) -> None:
        """In a worker of ``own``: close what is only ours."""
        for sock in self.sockets.values():
            if not any(sock is other for other in own.sockets.values()):
                sock.close()
        self.files.close()

    def reopen_logs(self) -> None:
        """nginx's USR1 in the master: new files by the old names, owned by the workers' user."""
        self.files.reopen(self.log, self.user.uid if self.user is not None else None)
        self.redirect_stderr()

    def redirect_stderr(self) -> None:
        """Not while any log is stderr (nginx's ``log_use_stderr``)."""
        if not self.files.stderr:
            self.log.redirect_stderr()

    def close(self, *, predecessor: bool = False, successor: bool = False) -> None:
        """Stop listening for good. Unix sockets are removed, unless another master uses them."""
        for sock in self.sockets.values():
            if successor or (predecessor and sock.inherited):
                sock.close()
            else:
                sock.remove(self.log)
        self.sockets = {}

    def _targets(self, server: ServerConfiguration) -> list[tuple[int, int]]:
        """Where the server's sessions are logged: its own logs, else the main ones (--error-log)."""
        inherited = server.error_log == self.configuration.error_log
        return self.log.targets() if inherited else self.files.targets(server.error_log)

    def _main_logs(self) -> list[ErrorLog]:
        logs = self.configuration.error_log
        path = self.options.error_log
        if path is None:
            return logs
        level = max((log.level for log in logs), default=ERROR)
        return [ErrorLog(path if path == "stderr" else self.options.prefixed(path), level)]


def refuse(error: ConfigError | StartFailed, log: Log) -> None:
    """Write why a configuration cannot be put in force, after the warnings that reading it left."""
    if isinstance(error, ConfigError):
        report(error.warnings, log)
    log.log(LEVELS.index(error.level), str(error))


def report(messages: Iterable[tuple[str, str]], log: Log) -> None:
    """Write the warnings that reading left."""
    for level, text in messages:
        log.log(LEVELS.index(level), text)
