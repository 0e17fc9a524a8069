"""``auth_http_cache`` as an operator has it: workers share what is kept, reloads forget it."""

import os
import re
import signal

import pytest
from support.authserver import AuthServer
from support.ports import HOST, reserve
from support.processes import USER, Session, Site, imap, wait_for

ZONE = "auth_http_cache zone=answers:1m;"


def log_in(port: int, user: str = "user") -> None:
    with Session(port, user) as session:
        session.exchange()


@pytest.mark.directive("auth_http_cache")
@pytest.mark.parametrize("transport", ["engine", "aiohttp"])
def test_the_auth_server_is_asked_once(site: Site, auth: AuthServer, port: int, transport: str) -> None:
    site.configure(imap(auth, port, f"{ZONE} auth_http_transport {transport};"), main=USER)
    site.start()
    for _ in range(3):
        log_in(port)
    assert len(auth.requests) == 1
    log_in(port, "other")
    assert [request.headers["auth-user"] for request in auth.requests] == ["user", "other"]


def test_not_where_it_is_off(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(ZONE + imap(auth, port, "auth_http_cache off;"))
    site.start()
    for _ in range(3):
        log_in(port)
    assert len(auth.requests) == 3


def test_a18_servers_are_apart(site: Site, auth: AuthServer, port: int) -> None:
    other = reserve()
    second = f"server {{ listen {HOST}:{other}; protocol imap; }}"
    site.configure(ZONE + imap(auth, port) + second)
    site.start()
    for _ in range(2):
        log_in(port)
        log_in(other)
    assert len(auth.requests) == 2


def test_workers_share_it(site: Site, auth: AuthServer, port: int) -> None:
    """Each that has served a login is killed: another serves the next."""
    site.configure(imap(auth, port, ZONE), main=USER, workers=2)
    site.start()
    site.wait_workers(2)
    served: list[int] = []
    for _ in range(4):
        since = site.log_size
        log_in(port)
        line = site.wait_log("client logged in", since)
        served.append(int(line.split()[3].partition("#")[0]))
        os.kill(served[-1], signal.SIGKILL)
        site.wait_workers(2, besides=served)
    assert len(set(served)) == 4
    assert len(auth.requests) == 1


@pytest.mark.parametrize("single", [False, True])
def test_a_reload_forgets(site: Site, auth: AuthServer, port: int, single: bool) -> None:
    """Nothing else has changed; sessions go on."""
    site.configure(imap(auth, port, ZONE), main="master_process off;" if single else USER)
    site.start()
    if not single:
        site.wait_workers(1)

    def asks() -> bool:
        """Whether a login makes the auth server be asked."""
        before = len(auth.requests)
        log_in(port)
        return len(auth.requests) > before

    with Session(port) as session:
        assert not asks()
        site.signal("reload")
        wait_for("the new configuration", asks)
        # The old one may take a connection as it leaves; then it asks, and keeps nothing.
        wait_for("an answer that is kept", lambda: not asks())
        session.exchange()


def test_a_zone_that_memory_has_no_room_for(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port, "auth_http_cache zone=answers:8796093022207m;"))
    result = site.run("-t")
    assert result.returncode == 1
    reason = r"mmap\(MAP_ANON\|MAP_SHARED, \d+\) failed \(12: Cannot allocate memory\)"
    assert re.search(reason, result.stderr)
    assert "Traceback" not in result.stderr
