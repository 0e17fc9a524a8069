"""TLS sessions of clients: resumed by tickets and by caches, in all workers, over a reload; and where not."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from support.authserver import AuthServer
from support.door import V2, V3, Door, served_by, trusting
from support.listener import PATIENCE
from support.pki import PKI
from support.ports import reserve
from support.processes import Site, wait_for


def resumed(
    door: Door, version: ssl.TLSVersion, workers: int = 1, reload: Callable[[], object] = lambda: None
) -> list[bool]:
    """Whether connections, to one worker after the other, twice round, resumed the session of a first one."""
    context = trusting(door.pki, minimum_version=version, maximum_version=version)
    pids = door.site.wait_workers(workers)

    def visit(turn: int, session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
        since = door.site.log_size
        worker = pids[turn % workers]
        with served_by(worker, pids), door.connect(context, session=session) as peer:
            assert peer.recv(4096) == b"* OK IMAP4 ready\r\n"
            assert f" {worker}#0: " in door.site.wait_log(" connected to ", since)
            return bool(peer.session_reused), peer.session

    reused, session = visit(0, None)
    assert not reused
    reload()
    pids = door.site.wait_workers(workers)
    results = []
    for turn in range(1, 2 * workers + 1):
        reused, after = visit(turn, session)
        results.append(reused)
        if version == V3:
            session = after  # tickets of TLS 1.3 are for one use
    return results


SHARED = "ssl_session_cache shared:S:1m;"
STATEFUL = f"{SHARED} ssl_session_tickets off;"
KEPT = [
    *(("", version, True) for version in (V2, V3)),  # tickets, with a key that workers inherit
    ("ssl_session_cache off;", V2, True),
    ("ssl_session_cache none; ssl_session_tickets off;", V2, False),
    ("ssl_session_cache off; ssl_session_tickets off;", V2, False),
    ("ssl_session_cache off; ssl_session_tickets off;", V3, False),
    (STATEFUL, V2, True),
    (STATEFUL, V3, True),
    (SHARED, V2, True),
    (SHARED, V3, True),
    ("ssl_session_cache builtin:100 shared:S:1m; ssl_session_tickets off;", V2, True),
]


@pytest.mark.directive("ssl_session_cache", "ssl_session_tickets")
@pytest.mark.parametrize(("directives", "version", "kept"), KEPT)
def test_resumption_in_all_workers(door: Door, directives: str, version: ssl.TLSVersion, kept: bool) -> None:
    door.open(directives, workers=3)
    assert resumed(door, version, 3) == [kept] * 6


@pytest.mark.parametrize(("mode", "size"), [("off", 0), ("none", 32)])
def test_what_clients_are_told_of_sessions_that_are_not_kept(door: Door, mode: str, size: int) -> None:
    """Some take it badly to hear that a session cannot be resumed: ``none`` gives it a name all the same."""
    door.open(f"ssl_session_cache {mode}; ssl_session_tickets off;")
    with door.connect(trusting(door.pki, maximum_version=V2)) as peer:
        assert peer.session is not None and len(peer.session.id) == size


@pytest.mark.parametrize("size", ["", ":100"])
def test_builtin_cache_is_each_workers_own(door: Door, size: str) -> None:
    door.open(f"ssl_session_cache builtin{size}; ssl_session_tickets off;", workers=2)
    assert resumed(door, V2, 2) == [False, True, False, True]


@pytest.mark.parametrize("version", [V2, V3])
@pytest.mark.parametrize("directives", ["", STATEFUL])
def test_client_certificate_of_a_resumed_session(
    door: Door, directives: str, version: ssl.TLSVersion
) -> None:
    """The auth server is told of it as before; one that was refused stays refused."""
    pki = door.pki
    door.open(f"{directives} ssl_verify_client on; ssl_client_certificate {pki.ca.path};")
    context = trusting(pki, pki.client, minimum_version=version, maximum_version=version)
    session = None
    for _ in range(2):
        with door.connect(context, session=session) as peer:
            assert peer.recv(4096) == b"* OK IMAP4 ready\r\n"
            peer.sendall(b"a LOGIN user pass\r\n")
            peer.recv(4096)
            assert peer.session_reused == (session is not None)
            session = peer.session
    first, second = (request.headers for request in door.auth.requests)
    assert first == second and first["auth-ssl-verify"] == "SUCCESS"
    context = trusting(pki, pki.client_expired, minimum_version=version, maximum_version=version)
    session = None
    for _ in range(2):
        with door.connect(context, session=session) as peer:
            assert peer.recv(4096) == b"* BYE SSL certificate error\r\n"
            session = peer.session


@pytest.mark.directive("ssl_session_ticket_key")
@pytest.mark.parametrize("size", [48, 80])
@pytest.mark.parametrize("version", [V2, V3])
def test_ticket_keys_are_kept_and_rotated(
    door: Door, tmp_path: Path, size: int, version: ssl.TLSVersion
) -> None:
    old, new = tmp_path / "old.key", tmp_path / "new.key"
    old.write_bytes(bytes(range(size)))
    new.write_bytes(bytes(reversed(range(size))))
    door.open(f"ssl_session_ticket_key {old};", workers=2)

    def rotate() -> None:
        text = door.site.configuration.read_text()
        both = f"ssl_session_ticket_key {new}; ssl_session_ticket_key {old};"
        door.site.configuration.write_text(text.replace(f"ssl_session_ticket_key {old};", both))
        door.site.reload(2)

    assert resumed(door, version, 2, rotate) == [True] * 4


@pytest.mark.parametrize(
    ("directives", "version", "kept"),
    [
        *((directives, version, True) for directives in (STATEFUL, SHARED) for version in (V2, V3)),
        *(("", version, False) for version in (V2, V3)),  # new keys, as with nginx
    ],
)
def test_resumption_over_a_reload(door: Door, directives: str, version: ssl.TLSVersion, kept: bool) -> None:
    door.open(directives, workers=2)
    results = resumed(door, version, 2, lambda: door.site.reload(2))
    assert results == ([True] * 4 if kept else [False, *[version == V3] * 3])


@pytest.mark.directive("ssl_session_timeout")
@pytest.mark.parametrize("directives", ["", STATEFUL])
def test_session_timeout(door: Door, directives: str) -> None:
    door.open(f"{directives} ssl_session_timeout 1s;")
    context = trusting(door.pki, maximum_version=V2)
    with door.connect(context) as peer:
        session = peer.session
        assert session is not None
        assert peer.recv(4096) == b"* OK IMAP4 ready\r\n"

    def expired() -> bool:
        with door.connect(context, session=session) as peer:
            return not peer.session_reused

    wait_for("the session's end", expired)


@pytest.mark.parametrize("version", [V2, V3])
@pytest.mark.parametrize("cache", ["ssl_session_tickets on;", STATEFUL])
@pytest.mark.parametrize(
    "rules",
    [
        "ssl_verify_client on; ssl_client_certificate {ca};",
        "ssl_verify_client on; ssl_trusted_certificate {ca};",
        "ssl_verify_client optional; ssl_trusted_certificate {other};",
    ],
)
def test_a22_no_resumption_under_other_rules(
    site: Site, auth: AuthServer, pki: PKI, version: ssl.TLSVersion, cache: str, rules: str
) -> None:
    """CVE-2025-23419: a session of one server is none at another that asks more, or others, of clients."""
    first, second = reserve(), reserve()
    keys = pki.directory / "ticket.key"
    keys.write_bytes(bytes(range(80)))
    site.configure(
        f"auth_http 127.0.0.1:{auth.port}/auth; ssl_certificate {pki.server.certificate}; {cache}\n"
        f"ssl_certificate_key {pki.server.key}; ssl_session_ticket_key {keys};\n"
        f"server {{ listen 127.0.0.1:{first} ssl; protocol imap; ssl_verify_client optional_no_ca; }}\n"
        f"server {{ listen 127.0.0.1:{second} ssl; protocol imap; "
        f"{rules.format(ca=pki.ca.path, other=pki.other_ca.path)} }}\n"
    )
    site.start()
    context = trusting(pki, minimum_version=version, maximum_version=version)

    def visit(port: int, session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
        raw = socket.create_connection(("127.0.0.1", port), PATIENCE)
        with context.wrap_socket(raw, server_hostname="mail.test", session=session) as peer:
            peer.recv(4096)
            return bool(peer.session_reused), peer.session

    _, session = visit(first, None)
    assert visit(first, session)[0]  # it is good where it was made
    _, session = visit(first, None)
    assert not visit(second, session)[0]
