"""The table holds every directive of nginx's mail proxy, and the documentation is made from it."""

from pathlib import Path

import pytest
from support.documents import assert_current
from support.processes import ROOT

from fastmail.config import ConfigError, load
from fastmail.config.directive import State
from fastmail.config.directives import SECTIONS, TABLE
from fastmail.config.docs import render
from fastmail.config.foreign import FOREIGN
from fastmail.config.removed import REMOVED, REPLACED

MAIN = """user worker_processes worker_cpu_affinity worker_priority worker_rlimit_nofile worker_rlimit_core
    worker_shutdown_timeout working_directory env pid lock_file daemon master_process error_log include
    load_module debug_points timer_resolution pcre_jit thread_pool ssl_engine ssl_object_cache_inheritable
    google_perftools_profiles quic_bpf events mail http stream"""
EVENTS = """worker_connections use multi_accept accept_mutex accept_mutex_delay debug_connection epoll_events
    worker_aio_requests include"""
MAIL = """server_name timeout max_errors resolver resolver_timeout error_log auth_http auth_http_timeout
    auth_http_header auth_http_pass_client_cert imap_auth imap_capabilities imap_client_buffer pop3_auth
    pop3_capabilities smtp_auth smtp_capabilities smtp_client_buffer smtp_greeting_delay proxy_buffer
    proxy_timeout proxy_pass_error_message proxy_protocol proxy_smtp_auth xclient proxy set_real_ip_from
    ssl starttls ssl_certificate ssl_certificate_key ssl_password_file ssl_certificate_compression ssl_dhparam
    ssl_ecdh_curve ssl_protocols ssl_ciphers ssl_prefer_server_ciphers ssl_session_cache ssl_session_tickets
    ssl_session_ticket_key ssl_session_timeout ssl_verify_client ssl_verify_depth ssl_client_certificate
    ssl_trusted_certificate ssl_crl ssl_conf_command include"""
OURS = """ssl_certificate_reload auth_http_cache auth_http_keepalive auth_http_keepalive_time
    auth_http_transport
    auth_http_ssl_verify
    auth_http_ssl_trusted_certificate auth_http_ssl_certificate auth_http_ssl_certificate_key
    auth_http_ssl_name
    max_commands proxy_bind proxy_pipelining proxy_preconnect proxy_socket_keepalive proxy_ssl
    proxy_ssl_starttls
    imap_id max_auth_attempts
    proxy_ssl_verify proxy_ssl_verify_depth proxy_ssl_name proxy_ssl_server_name proxy_ssl_trusted_certificate
    proxy_ssl_crl proxy_ssl_certificate proxy_ssl_certificate_key proxy_ssl_password_file proxy_ssl_protocols
    proxy_ssl_ciphers proxy_ssl_conf_command proxy_ssl_session_reuse"""

CONTEXTS = {
    "main": MAIN.split(),
    "events": EVENTS.split(),
    "mail": [*MAIL.split(), *OURS.split(), "server"],
    "server": [*MAIL.split(), *OURS.split(), "listen", "protocol"],
}


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_directive_is_known_in_its_context(context: str) -> None:
    known = {name for name, directive in TABLE.items() if context in directive.contexts}
    assert known - {"rtmp", "mgmt"} == set(CONTEXTS[context])


def test_no_directive_stands_twice() -> None:
    names = [directive.name for section in SECTIONS.values() for directive in section]
    assert sorted(names) == sorted(set(names))
    assert not FOREIGN & set(names)


@pytest.mark.parametrize(
    "name", ["proxy_pass", "location", "upstream", "gzip", "ssl_early_data", "ssl_stapling", "map", "return"]
)
def test_foreign_directives_are_known(name: str) -> None:
    assert name in FOREIGN


# What nginx's core, its event modules and its mail module (first: imap) had in some release from 0.1.0
# to 1.31.4 and have no more, or have on other systems only. ``ssl`` is in MAIL.
GONE = {
    "main": """imap worker_rlimit_sigpending worker_threads thread_stack_size""",
    "events": """connections rtsig_signo rtsig_overflow_events rtsig_overflow_test rtsig_overflow_threshold
        kqueue_changes kqueue_events devpoll_changes devpoll_events eventport_events iocp_threads
        post_acceptex acceptex_read""",
    "mail": "auth so_keepalive",
}


def test_no_other_directive_is_removed() -> None:
    assert sorted(REMOVED) == sorted(" ".join(GONE.values()).split())
    assert not set(REMOVED) & (set(TABLE) | FOREIGN)


@pytest.mark.parametrize("name", REMOVED)
def test_directive_that_nginx_removed(tmp_path: Path, name: str) -> None:
    """Its replacement is named, and is one that fastmail takes."""
    level = next(level for level, names in GONE.items() if name in names.split())
    statement = f"{name} {{ }}" if name == "imap" else f"{name} on;"
    (tmp_path / "n.conf").write_text(statement if level == "main" else f"{level} {{\n{statement}\n}}")
    with pytest.raises(ConfigError) as caught:
        load("n.conf", prefix=str(tmp_path))
    place = f"in {tmp_path}/n.conf:{1 if level == 'main' else 2}"
    if name in REPLACED:
        assert (
            str(caught.value)
            == f'unknown directive "{name}", use the "{REPLACED[name]}" directive instead {place}'
        )
        assert REPLACED[name].rpartition('"')[2] in TABLE
    else:
        assert (
            str(caught.value) == f'unknown directive "{name}", it has no use here and can be removed {place}'
        )


LISTEN = """bind backlog=9 rcvbuf=8k sndbuf=8k ipv6only=on ipv6only=off multipath proxy_protocol
    so_keepalive=on so_keepalive=off so_keepalive=30m::10"""


@pytest.mark.parametrize("parameter", LISTEN.split())
def test_every_parameter_of_listen(tmp_path: Path, parameter: str) -> None:
    """Those of all releases; ``ssl`` has tests of its own."""
    text = f"events {{ }} mail {{ auth_http 127.0.0.1:9; server {{ listen [::1]:143 {parameter}; }} }}"
    (tmp_path / "n.conf").write_text(text)
    load("n.conf", prefix=str(tmp_path)).check()


def test_documentation_is_current() -> None:
    assert_current(ROOT / "docs/directives.md", render(), "fastmail.config.docs")


def test_documentation_tells_the_state_of_each() -> None:
    rows = {line.split("`")[1]: line for line in render().splitlines() if line.startswith("| `")}
    for name, directive in TABLE.items():
        assert ("*Accepted without function.*" in rows[name]) == (directive.state is not State.SUPPORTED)
