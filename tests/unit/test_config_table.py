"""The table holds every directive of nginx's mail proxy, and the documentation is made from it."""

from pathlib import Path

import pytest

from fastmail.config.directive import State
from fastmail.config.directives import SECTIONS, TABLE
from fastmail.config.docs import render
from fastmail.config.foreign import FOREIGN

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
    starttls ssl_certificate ssl_certificate_key ssl_password_file ssl_certificate_compression ssl_dhparam
    ssl_ecdh_curve ssl_protocols ssl_ciphers ssl_prefer_server_ciphers ssl_session_cache ssl_session_tickets
    ssl_session_ticket_key ssl_session_timeout ssl_verify_client ssl_verify_depth ssl_client_certificate
    ssl_trusted_certificate ssl_crl ssl_conf_command include"""
OURS = """ssl_certificate_reload auth_http_cache auth_http_keepalive auth_http_transport auth_http_ssl_verify
    auth_http_ssl_trusted_certificate auth_http_ssl_certificate auth_http_ssl_certificate_key
    auth_http_ssl_name
    max_commands proxy_bind proxy_pipelining proxy_preconnect proxy_ssl proxy_ssl_starttls
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


def test_ssl_is_no_directive_any_more() -> None:
    assert "ssl" not in TABLE
    assert "ssl" not in FOREIGN


def test_documentation_is_current() -> None:
    """If not: python -m fastmail.config.docs"""
    page = Path(__file__).parents[2] / "docs" / "directives.md"
    assert page.read_text(encoding="utf-8") == render()


def test_documentation_tells_the_state_of_each() -> None:
    rows = {line.split("`")[1]: line for line in render().splitlines() if line.startswith("| `")}
    for name, directive in TABLE.items():
        assert ("*Accepted without function.*" in rows[name]) == (directive.state is not State.SUPPORTED)
