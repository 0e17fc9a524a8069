"""Directives of the main context and of ``events``: what they change; what has no function does no harm."""

import pytest
from support.authserver import AuthServer
from support.processes import Session, Site, imap
from support.script import Client

TRIVIA = (
    "load_module modules/ngx_mail_module.so;",
    "lock_file nginx.lock;",
    "debug_points abort;",
    "timer_resolution 100ms;",
    "pcre_jit on;",
    "thread_pool default threads=32 max_queue=100;",
    "google_perftools_profiles profile;",
    "quic_bpf on;",
    "http { server { listen 1; location / { return 200 '}'; } } }",
    "stream { server { listen 1; proxy_pass 127.0.0.1:1; } }",
    "rtmp { server { listen 1; } }",
    "mgmt { server 127.0.0.1:1; }",
)
EVENTS = (
    "use epoll;",
    "accept_mutex on;",
    "accept_mutex_delay 100ms;",
    "epoll_events 1;",
    "worker_aio_requests 1;",
)


@pytest.mark.directive(
    "load_module", "lock_file", "debug_points", "timer_resolution", "pcre_jit", "thread_pool",
    "google_perftools_profiles", "quic_bpf", "http", "stream", "rtmp", "mgmt", "use", "accept_mutex",
    "accept_mutex_delay", "epoll_events", "worker_aio_requests", "proxy",
)  # fmt: skip
def test_what_has_no_function_does_no_harm(site: Site, auth: AuthServer, port: int) -> None:
    events, mail = "\n".join(EVENTS), imap(auth, port, "proxy on;")
    site.configuration.write_text(
        "\n".join(TRIVIA) + "\nerror_log error.log info;\npid fastmail.pid;\n"
        f"events {{ {events} }}\nmail {{ {mail} }}\n"
    )
    site.start()
    with Session(port) as session:
        session.exchange()
    assert not (site.directory / "nginx.lock").exists()
    assert [message for message in site.messages() if message.startswith(("[emerg]", "[alert]"))] == []


@pytest.mark.directive("include")
def test_included_files_are_read_in_place(site: Site, auth: AuthServer, port: int) -> None:
    (site.directory / "sites").mkdir()
    (site.directory / "sites" / "b.conf").write_text("imap_capabilities SECOND;\n")
    (site.directory / "sites" / "a.conf").write_text("imap_capabilities FIRST;\n")
    (site.directory / "server.conf").write_text(f"server {{ listen 127.0.0.1:{port}; protocol imap; }}\n")
    includes = "include sites/*.conf; include none/*.conf; include server.conf;"
    site.configure(f"auth_http 127.0.0.1:{auth.port}/auth; {includes}")
    site.start()
    with Client(port) as client:
        client.lines(1)
        client.send("a CAPABILITY")
        assert client.lines(1) == b"* CAPABILITY FIRST SECOND AUTH=PLAIN\r\n"


@pytest.mark.directive("events", "worker_connections")
def test_a_worker_has_so_many_connections(site: Site, auth: AuthServer, port: int) -> None:
    """One is the listening socket's, one the master's channel's."""
    site.configure(imap(auth, port), connections=4)
    site.start()
    with Client(port) as first, Client(port) as second:
        assert first.lines(1) == second.lines(1) == b"* OK IMAP4 ready\r\n"
        with Client(port) as third:
            assert third.rest() == b""
        site.wait_log(r"\[alert\] .*4 worker_connections are not enough")
        first.send("a LOGOUT")
        first.rest()
    with Client(port) as client:
        assert client.lines(1) == b"* OK IMAP4 ready\r\n"
