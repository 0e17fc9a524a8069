"""Reloads, upgrades and log rotations while clients log in and relay: none of them notices."""

import itertools
import os
import re
import signal
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from support.authserver import AuthServer
from support.load import Load, all_went_on
from support.processes import Session, Site, ended, imap, wait_for

ROUNDS = 5  # of four reloads, a rotation and an upgrade


def test_nothing_is_lost(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port), workers=2)
    site.start_daemon()
    site.wait_workers(2)
    load = [Load(port) for _ in range(4)]
    rotation = itertools.count()

    def during(change: Callable[[], None]) -> None:
        change()
        before = [thread.logins for thread in load]
        wait_for("logins", partial(all_went_on, load, before))

    def reload() -> None:
        old = site.workers()
        os.kill(site.pid, signal.SIGHUP)
        site.wait_workers(2, besides=old)

    def rotate() -> None:
        site.log_file.rename(site.directory / f"error.log.{next(rotation)}")
        os.kill(site.pid, signal.SIGUSR1)
        wait_for("the new file", site.log_file.exists)

    def upgrade() -> None:
        old, _ = site.upgrade(2)
        os.kill(old, signal.SIGQUIT)

    with ExitStack() as ending:
        for thread in load:
            ending.callback(thread.end)
            thread.start()
        for _ in range(ROUNDS):
            old = site.pid
            with ExitStack() as sessions:
                relays = [sessions.enter_context(Session(port, f"relay{number}")) for number in range(6)]
                for change in (reload, reload, rotate, reload, reload, upgrade):
                    during(change)
                    for relay in relays:
                        relay.exchange()
            # only then may the new master be upgraded in its turn
            wait_for("the old master's end", partial(ended, old))
    assert [failure for thread in load for failure in thread.failures] == []
    logs = [path.read_text() for path in site.directory.glob("error.log*")]
    bad = re.compile(r"\[(emerg|alert|crit|error)\]")
    assert [line for text in logs for line in text.splitlines() if bad.search(line)] == []
