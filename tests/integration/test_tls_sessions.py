"""TLS sessions of clients: resumed by tickets and by caches, in all workers, over a reload; and where not."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from support.authserver import AuthServer
from support.door import V2, V3, Door, trusting
from support.listener import PATIENCE
from support.pki import PKI
from support.ports import reserve
from support.processes import Site, alive, wait_for


def reload_all(site: Site, count: int) -> None:
    """Until none of the old workers is left."""
    before = site.wait_workers(count)
    site.signal("reload")
    site.wait_workers(count, besides=before)
    wait_for("the old workers' end", lambda: not any(map(alive, before)))


def _resumed(
    door: Door, version: ssl.TLSVersion, times: int = 8, reload: Callable[[], None] = lambda: None
) -> int:
    """How many of so many connections resumed the session of a first one."""
    context = trusting(door.pki, minimum_version=version, maximum_version=version)

    def visit(session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
        with door.connect(context, session=session) as peer:
            assert peer.recv(4096) == b"* OK IMAP4 ready\r\n"
            return bool(peer.session_reused), peer.session

    reused, session = visit(None)
    assert not reused
    reload()
    count = 0
    for _ in range(times):
        reused, after = visit(session)
        count += reused
        if version == V3:
            session = after  # tickets of TLS 1.3 are for one use
    return count


SHARED = "ssl_session_cache shared:S:1m;"
KEPT = [
    *(("", version, 8) for version in (V2, V3)),  # tickets, with a key that workers inherit
    ("ssl_session_tickets off;", V2, 0),
    ("ssl_session_cache off; ssl_session_tickets off;", V2, 0),
    (f"{SHARED} ssl_session_tickets off;", V2, 8),
    (f"{SHARED} ssl_session_tickets off;", V3, 8),
    (SHARED, V2, 8),
    (SHARED, V3, 8),
]


@pytest.mark.directive("ssl_session_cache", "ssl_session_tickets")
@pytest.mark.parametrize(("directives", "version", "count"), KEPT)
def test_resumption_in_all_workers(door: Door, directives: str, version: ssl.TLSVersion, count: int) -> None:
    door.open(directives, workers=3)
    door.site.wait_workers(3)
    assert _resumed(door, version) == count


def test_builtin_cache_of_one_worker(door: Door) -> None:
    door.open("ssl_session_cache builtin:100; ssl_session_tickets off;")
    assert _resumed(door, V2) == 8


@pytest.mark.directive("ssl_session_ticket_key")
@pytest.mark.parametrize("size", [48, 80])
@pytest.mark.parametrize("version", [V2, V3])
def test_ticket_keys_are_kept_and_rotated(
    door: Door, tmp_path: Path, size: int, version: ssl.TLSVersion
) -> None:
    old, new = tmp_path / "old.key", tmp_path / "new.key"
    old.write_bytes(bytes(range(size)))
    new.write_bytes(bytes(reversed(range(size))))
    door.open(f"ssl_session_ticket_key {old};")

    def rotate() -> None:
        text = door.site.configuration.read_text()
        both = f"ssl_session_ticket_key {new}; ssl_session_ticket_key {old};"
        door.site.configuration.write_text(text.replace(f"ssl_session_ticket_key {old};", both))
        reload_all(door.site, 1)

    assert _resumed(door, version, reload=rotate) == 8


@pytest.mark.parametrize(
    ("directives", "version", "count"),
    [
        (f"{SHARED} ssl_session_tickets off;", V2, 8),
        (f"{SHARED} ssl_session_tickets off;", V3, 8),
        (SHARED, V3, 8),
        ("", V2, 0),  # new keys, as with nginx
    ],
)
def test_resumption_over_a_reload(door: Door, directives: str, version: ssl.TLSVersion, count: int) -> None:
    door.open(directives, workers=2)

    assert _resumed(door, version, reload=lambda: reload_all(door.site, 2)) == count


@pytest.mark.directive("ssl_session_timeout")
@pytest.mark.parametrize("directives", ["", f"{SHARED} ssl_session_tickets off;"])
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
@pytest.mark.parametrize("cache", ["ssl_session_tickets on;", f"{SHARED} ssl_session_tickets off;"])
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
