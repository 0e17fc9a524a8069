"""``auth_http_transport`` in real workers: engine and aiohttp are alike to the server and in the log."""

import pytest
from support.authserver import AuthServer
from support.ports import reserve
from support.processes import Session, Site, imap


@pytest.mark.directive("auth_http_transport")
@pytest.mark.parametrize("scheme", ["aiohttp", "engine"])
def test_both_transports_send_the_same_request(site: Site, auth: AuthServer, port: int, scheme: str) -> None:
    site.configure(imap(auth, port, f'auth_http_transport {scheme}; auth_http_header X-Key "se cret";'))
    site.start()
    with Session(port) as session:
        session.exchange()
    (request,) = auth.requests
    assert request.raw == (
        b"GET /auth HTTP/1.0\r\nHost: 127.0.0.1\r\nAuth-Method: plain\r\n"
        b"Auth-User: user\r\nAuth-Pass: secret\r\nAuth-Protocol: imap\r\nAuth-Login-Attempt: 1\r\n"
        b"Client-IP: 127.0.0.1\r\nX-Key: se cret\r\n\r\n"
    )


def test_refused_auth_server_reads_alike_on_both_transports(site: Site, port: int) -> None:
    other, dead = reserve(), reserve()
    site.configure(
        f"auth_http 127.0.0.1:{dead}; server {{ listen 127.0.0.1:{port}; protocol imap; }}"
        f"server {{ listen 127.0.0.1:{other}; protocol imap; auth_http_transport aiohttp; }}"
    )
    site.start()
    for listen in (port, other):
        with pytest.raises(AssertionError, match=r"internal server error"):
            Session(listen)
        site.wait_log(
            r"\[error\] \S+ \*\d+ recv\(\) failed \(111: Connection refused\) while in http auth state, "
            rf'client: 127.0.0.1, server: 127.0.0.1:{listen}, login: "user"$'
        )
