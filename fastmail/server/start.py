"""From a command line to a running proxy, or to the verdict of ``-t``."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable

from fastmail.config import ConfigError, Configuration
from fastmail.logs import Log, own_stderr
from fastmail.server import StartFailed, built_by, master, pidfile, product, worker
from fastmail.server.cycle import Cycle, Options, refuse, report
from fastmail.server.shared import Shared, unshared
from fastmail.server.systemd import NOTIFY_SOCKET, Activated, Notifier
from fastmail.server.title import prepare
from fastmail.server.upgrade import Inherited


def start(options: Options, bootstrap: Log, command: str) -> int:
    """Put the configuration in force and serve; returns the exit code.

    With ``daemon on`` the calling process exits with 0 once the sockets are bound. Not so under a service
    manager that is to be notified: the end of what it started would be the end of the service.
    """
    notifier = Notifier.of_environment()
    inherited = Inherited(bootstrap)
    activated = Activated(bootstrap)
    try:
        cycle = Cycle.read(options, bootstrap)
    except (ConfigError, StartFailed) as error:
        refuse(error, bootstrap)
        notifier.failed(bootstrap, error)
        return 1
    cycle.log.console = bootstrap.console
    bootstrap.close()
    main = cycle.configuration.main
    try:
        cycle.bind(inherited=inherited, activated=activated)
        _announce(cycle)
        if main["daemon"] and not inherited.started_by_master:
            if notifier:
                cycle.log.notice(f'"daemon on" ignored: {NOTIFY_SOCKET} is set')
            else:
                _daemonize()
        shared = Shared()
        master.block_signals()
        pidfile.write(cycle.pid_path, f"{os.getpid()}\n")
    except StartFailed as error:
        refuse(error, cycle.log)
        notifier.failed(cycle.log, error)
        return 1
    except OSError as error:
        cycle.log.emerg("fork() failed", error)
        return 1
    own_stderr()
    cycle.redirect_stderr()
    cycle.log.console = None
    prepare()
    if main["master_process"]:
        daemonized = main["daemon"] or inherited.started_by_master
        return master.Master(
            cycle,
            command,
            notifier,
            shared,
            daemonized=daemonized,
            predecessor=os.getppid() if inherited.started_by_master else None,
        ).run()
    return worker.run_single(cycle, unshared(), notifier)


def check(options: Options, bootstrap: Log, parsed: Callable[[Configuration], None]) -> Configuration | None:
    """``-t``: do what a start does to find errors, then undo it; ``parsed`` is called between the two halves.

    Leaves log files, and an empty pid file if there was none. None: an error was found and logged.
    """
    try:
        configuration = options.load()
        report(configuration.messages, bootstrap)
        parsed(configuration)
        report(configuration.check(), bootstrap)
        cycle = Cycle(options, configuration)
    except (ConfigError, StartFailed) as error:
        refuse(error, bootstrap)
        return None
    cycle.log.console = bootstrap.console
    try:
        pidfile.write(cycle.pid_path, "")
        cycle.bind(testing=True)
    except StartFailed as error:
        refuse(error, cycle.log)
        return None
    cycle.warn()
    cycle.close()
    return configuration


def _announce(cycle: Cycle) -> None:
    """What a start leaves in the log (nginx's ngx_os_status)."""
    cycle.announce()
    system = os.uname()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    cycle.log.notice(product(cycle.options.identity))
    cycle.log.notice(f"built by {built_by()}")
    cycle.log.notice(f"OS: {system.sysname} {system.release}")
    cycle.log.notice(f"getrlimit(RLIMIT_NOFILE): {soft}:{hard}")


def _daemonize() -> None:
    """Go on in the background: the parent exits here. Raises OSError."""
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    os.umask(0)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(null, standard)
    if null > 2:
        os.close(null)
