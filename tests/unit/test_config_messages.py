"""What is said of a configuration that cannot be used: nginx's words, with file and line."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastmail.config import ConfigError, load
from fastmail.config.directives import TABLE


@pytest.fixture(autouse=True)
def no_name_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks a name server."""

    def unknown(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)


def refused(path: Path, text: str | bytes, globals_text: str = "") -> str:
    """The message for a file with this text, its directory shown as DIR."""
    file = path / "n.conf"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load("n.conf", prefix=str(path), globals_text=globals_text).check()
    return str(caught.value).replace(str(path), "DIR")


def arguments(message: str) -> str:
    return f'invalid number of arguments in "{message}" directive'


STATEMENTS = [
    ("foo;", 'unknown directive "foo"'),
    ("foo {}", 'unknown directive "foo"'),
    ("Daemon on;", 'unknown directive "Daemon"'),
    ("\ufeffdaemon on;", 'unknown directive "\ufeffdaemon"'),
    ("ssl on;", '"ssl" directive is not allowed here'),
    ("proxy_pass x;", '"proxy_pass" directive is not allowed here'),
    ("location / {}", '"location" directive is not allowed here'),
    ("server {}", '"server" directive is not allowed here'),
    ("timeout 1 2 3 {", '"timeout" directive is not allowed here'),
    ("daemon on {", 'directive "daemon" is not terminated by ";"'),
    ("mail;", 'directive "mail" has no opening "{"'),
    ("mail x;", 'directive "mail" has no opening "{"'),
    ("mail x {}", arguments("mail")),
    ("daemon;", arguments("daemon")),
    ("daemon on off;", arguments("daemon")),
    ("user a b c;", arguments("user")),
    ("error_log;", arguments("error_log")),
    ("thread_pool x;", arguments("thread_pool")),
    ("thread_pool a b c d;", arguments("thread_pool")),
    ("}", 'unexpected "}"'),
    ("{", 'unexpected "{"'),
    (";", 'unexpected ";"'),
    ("daemon on; daemon x;", '"daemon" directive is duplicate'),
    ("pid a; pid b;", '"pid" directive is duplicate'),
    ("daemon maybe;", 'invalid value "maybe" in "daemon" directive, it must be "on" or "off"'),
    ("worker_rlimit_nofile 1k;", '"worker_rlimit_nofile" directive invalid number'),
    ("worker_rlimit_core 1x;", '"worker_rlimit_core" directive invalid value'),
    ("worker_processes AUTO;", '"worker_processes" directive invalid value'),
    ("worker_processes -1;", '"worker_processes" directive invalid value'),
    ("worker_priority x;", '"worker_priority" directive invalid number'),
    ("worker_cpu_affinity 012;", 'invalid character "2" in "worker_cpu_affinity"'),
    ("worker_cpu_affinity auto 1 1;", arguments("worker_cpu_affinity")),
    ("worker_shutdown_timeout 1y;", '"worker_shutdown_timeout" directive invalid value'),
    ("debug_points x;", 'invalid value "x"'),
    ("mail {} load_module x;", '"load_module" directive is specified too late'),
    ("mail {} mail {}", '"mail" directive is duplicate'),
    ("http {} http {}", '"http" directive is duplicate'),
    ("http { server {", 'unexpected end of file, expecting "}"'),
    ("mail {", 'unexpected end of file, expecting "}"'),
    ("error_log x foo;", 'invalid log level "foo"'),
    ("error_log x WARN;", 'invalid log level "WARN"'),
    ("error_log x stderr;", 'invalid log level "stderr"'),
    ("error_log x warn warn;", 'duplicate log level "warn"'),
    ("error_log x debug_core warn;", 'duplicate log level "warn"'),
    ("error_log x warn debug_core;", 'invalid log level "debug_core"'),
    ("error_log x json;", 'invalid log level "json"'),
    ("error_log memory:1k;", 'invalid buffer size "1k"'),
    ("error_log syslog:nohostname;", "no syslog server specified"),
    ("error_log syslog:server=127.0.0.1,server=127.0.0.1;", 'duplicate syslog "server"'),
    ("error_log syslog:tag=a,tag=b;", 'duplicate syslog "tag"'),
    ("error_log syslog:facility=zz;", 'unknown syslog facility "zz"'),
    ("error_log syslog:severity=zz;", 'unknown syslog severity "zz"'),
    (f"error_log syslog:tag={'a' * 33};", "syslog tag length exceeds 32"),
    ("error_log syslog:tag=a-b;", 'syslog "tag" only allows alphanumeric characters and underscore'),
    ("error_log syslog:foo=1;", 'unknown syslog parameter "foo=1"'),
    ("error_log syslog:server=a.invalid;", 'host not found in syslog server "a.invalid"'),
    ("error_log syslog:server=127.0.0.1 x;", 'invalid log level "x"'),
]

EVENTS = [
    ("daemon on;", '"daemon" directive is not allowed here'),
    ("worker_connections x;", 'invalid number "x"'),
    ("worker_connections 1; worker_connections 2;", '"worker_connections" directive is duplicate'),
    ("use kqueue;", 'invalid event type "kqueue"'),
    ("multi_accept 1;", 'invalid value "1" in "multi_accept" directive, it must be "on" or "off"'),
    ("accept_mutex_delay 1M;", '"accept_mutex_delay" directive invalid value'),
    ("debug_connection a.invalid;", 'host not found in debug_connection "a.invalid"'),
]

MAIL = [
    ("listen 1;", '"listen" directive is not allowed here'),
    ("protocol imap;", '"protocol" directive is not allowed here'),
    ("worker_connections 1;", '"worker_connections" directive is not allowed here'),
    ("types {}", '"types" directive is not allowed here'),
    ("server x {}", arguments("server")),
    ("server;", 'directive "server" has no opening "{"'),
    ("server_name a b;", arguments("server_name")),
    ("auth_http_header a;", arguments("auth_http_header")),
    ("imap_auth;", arguments("imap_auth")),
    ("timeout 1; timeout 1;", '"timeout" directive is duplicate'),
    ("server_name ''; server_name a;", '"server_name" directive is duplicate'),
    ("timeout 1M;", '"timeout" directive invalid value'),
    ("max_errors -1;", '"max_errors" directive invalid number'),
    ("max_auth_attempts x;", '"max_auth_attempts" directive invalid number'),
    ("max_commands x;", '"max_commands" directive invalid number'),
    ("proxy_bind 127.0.0.1 off;", 'host not found in proxy_bind "off"'),
    ("proxy_bind 127.0.0.1:x;", 'invalid port in proxy_bind "127.0.0.1:x"'),
    ("proxy_bind unix:/s;", 'invalid address "unix:/s"'),
    ("proxy_bind a.invalid;", 'host not found in proxy_bind "a.invalid"'),
    ("proxy_pipelining 1;", 'invalid value "1" in "proxy_pipelining" directive, it must be "on" or "off"'),
    (
        "proxy_socket_keepalive 1;",
        'invalid value "1" in "proxy_socket_keepalive" directive, it must be "on" or "off"',
    ),
    ("proxy_buffer 1g;", '"proxy_buffer" directive invalid value'),
    ("imap_auth apop;", 'invalid value "apop"'),
    ("pop3_auth login;", 'invalid value "login"'),
    ("smtp_auth plain none x;", 'invalid value "x"'),
    ("starttls maybe;", 'invalid value "maybe"'),
    ("ssl yes;", 'invalid value "yes" in "ssl" directive, it must be "on" or "off"'),
    ("ssl on; ssl off;", '"ssl" directive is duplicate'),
    ("starttls only; ssl on;", '"starttls" directive conflicts with "ssl on"'),
    ("ssl on; starttls on;", '"ssl" directive conflicts with "starttls"'),
    ("auth_http_transport asyncio;", 'invalid value "asyncio"'),
    ("auth_http_keepalive x;", '"auth_http_keepalive" directive invalid number'),
    ("auth_http_keepalive_time 1M;", '"auth_http_keepalive_time" directive invalid value'),
    ("resolver off; resolver off;", '"resolver" directive is duplicate'),
    ("resolver a.invalid;", 'host not found in resolver "a.invalid"'),
    ("resolver 127.0.0.1 valid=x;", "invalid parameter: valid=x"),
    ("resolver 127.0.0.1 ipv6=maybe;", "invalid parameter: ipv6=maybe"),
    ("resolver 127.0.0.1 ipv4=off ipv6=off;", '"ipv4" and "ipv6" cannot both be "off"'),
    ("resolver valid=1s;", "no name servers defined"),
    ("resolver 127.0.0.1 status_zone=x;", 'host not found in resolver "status_zone=x"'),
    ("set_real_ip_from 1.2.3.4/33;", 'host not found in set_real_ip_from "1.2.3.4/33"'),
    ("ssl_session_cache shared:S:10k;", 'session cache "shared:S:10k" is too small'),
    ("ssl_session_cache shared:S;", 'invalid session cache "shared:S"'),
    ("ssl_session_cache x;", 'invalid session cache "x"'),
    ("auth_http_cache on;", 'invalid parameter "on"'),
    ("auth_http_cache off valid=1m;", 'invalid parameter "off"'),
    ("auth_http_cache valid=1m;", '"auth_http_cache" must have "zone" parameter'),
    ("auth_http_cache zone=a;", 'invalid zone size "a"'),
    ("auth_http_cache zone=a:1x;", 'invalid zone size "a:1x"'),
    ("auth_http_cache zone=:1m;", 'invalid parameter "zone=:1m"'),
    ("auth_http_cache zone=a:10k;", 'zone "a:10k" is too small'),
    ("auth_http_cache zone=a:1m valid=1y;", 'invalid parameter "valid=1y"'),
    ("auth_http_cache zone=a:1m invalid=;", 'invalid parameter "invalid="'),
    ("auth_http_cache zone=a:1m valid=11d;", '"valid=11d" is too long'),
    ("auth_http_cache zone=a:1m zone=b:1m;", 'duplicate parameter "zone"'),
    ("auth_http_cache zone=a:1m valid=1m invalid=1s valid=2m;", 'duplicate parameter "valid"'),
    ("auth_http_cache zone=a:1m; auth_http_cache off;", '"auth_http_cache" directive is duplicate'),
    (
        "auth_http_cache zone=a:1m; server { auth_http_cache zone=a:2m; }",
        'the size 2097152 of shared memory zone "a" conflicts with already declared size 1048576',
    ),
    (
        "ssl_session_cache shared:a:1m; auth_http_cache zone=a:1m;",
        'the shared memory zone "a" is already declared for a different use',
    ),
    ("ssl_protocols TLSv2;", 'invalid value "TLSv2"'),
    ("ssl_session_timeout 1ms;", '"ssl_session_timeout" directive invalid value'),
    ("ssl_certificate_reload maybe;", '"ssl_certificate_reload" directive invalid value'),
    ("ssl_certificate_reload -1;", '"ssl_certificate_reload" directive invalid value'),
    ("ssl_certificate_reload on off;", 'invalid number of arguments in "ssl_certificate_reload" directive'),
    ("proxy_ssl maybe;", 'invalid value "maybe" in "proxy_ssl" directive, it must be "on" or "off"'),
    ("proxy_ssl_verify_depth x;", '"proxy_ssl_verify_depth" directive invalid number'),
    ("ssl_early_data on;", '"ssl_early_data" directive is not allowed here'),
]

ADDRESSES = [
    ("auth_http '';", 'no host in auth_http ""'),
    ("auth_http http://:80;", 'no host in auth_http ":80"'),
    ("auth_http /x;", 'no host in auth_http "/x"'),
    ("auth_http 127.0.0.1:0/;", 'invalid port in auth_http "127.0.0.1:0/"'),
    ("auth_http HTTP://127.0.0.1/;", 'invalid port in auth_http "HTTP://127.0.0.1/"'),
    ("auth_http 127.0.0.1:80-90;", 'invalid port in auth_http "127.0.0.1:80-90"'),
    ("auth_http http://a.invalid/b;", 'host not found in auth_http "a.invalid/b"'),
    ("auth_http https://a.invalid/b;", 'host not found in auth_http "a.invalid/b"'),
    ("auth_http *:80;", 'host not found in auth_http "*:80"'),
    ("auth_http [::1;", 'invalid host in auth_http "[::1"'),
    ("auth_http [::1]?x;", 'invalid host in auth_http "[::1]?x"'),
    ("auth_http [zz]/;", 'invalid IPv6 address in auth_http "[zz]/"'),
    ("auth_http https://unix:/x;", 'invalid host in auth_http "unix:/x"'),
    ("auth_http unix::/x;", 'no path in the unix domain socket in auth_http "unix::/x"'),
    (
        f"auth_http unix:{'x' * 108};",
        f'too long path in the unix domain socket in auth_http "unix:{"x" * 108}"',
    ),
]

LISTENS = [
    *((text, "invalid port") for text in ("0", "65536", "127.0.0.1:0", "127.0.0.1:x", "*:", ":", "[::1]:")),
    *((text, "invalid port") for text in ("5-70000", "127.0.0.1:5-", "[::1]:x")),
    *((text, "invalid port range") for text in ("5-4", "127.0.0.1:5-4", "[::1]:5-4")),
    *((text, "invalid host") for text in ("127.0.0.1/x", "127.0.0.1?x", "[::1", "[::1]x", "[::1]:1/x")),
    *((text, "no host") for text in ("''", ":143", "[]:1")),
    *(
        (text, "host not found")
        for text in ("a.invalid:143", "a.invalid", "1-2-3", "a..b:1", "127.0.0.256:1")
    ),
    ("[zz]:1", "invalid IPv6 address"),
    ("unix:", "no path in the unix domain socket"),
    (f"unix:{'x' * 108}", "too long path in the unix domain socket"),
]

PARAMETERS = [
    *(
        (word, f'invalid parameter "{word}"')
        for word in ("foo", "BIND", "SSL", "bind=x", "reuseport", "backlog")
    ),
    *((word, f'invalid parameter "{word}"') for word in ("deferred", "default_server", "ipv6only=x")),
    *((word, f'invalid backlog "{word}"') for word in ("backlog=", "backlog=0", "backlog=-1", "backlog=x")),
    ("rcvbuf=x", 'invalid rcvbuf "rcvbuf=x"'),
    ("sndbuf=", 'invalid sndbuf "sndbuf="'),
    ("ipv6only=ox", 'invalid ipv6only flags "ox"'),
    *(
        (f"so_keepalive={value}", f'invalid so_keepalive value: "{value}"')
        for value in ("", "x", "::", "0", "0:0:0", "1:2:3:4", "1ms")
    ),
]


@pytest.mark.parametrize(("text", "message"), STATEMENTS)
def test_main(tmp_path: Path, text: str, message: str) -> None:
    assert refused(tmp_path, f"\n{text}\n".rstrip()) == f"{message} in DIR/n.conf:2"


@pytest.mark.parametrize(("text", "message"), EVENTS)
def test_events(tmp_path: Path, text: str, message: str) -> None:
    assert refused(tmp_path, f"events {{\n {text} }}\n") == f"{message} in DIR/n.conf:2"


@pytest.mark.parametrize(("text", "message"), [*MAIL, *ADDRESSES])
def test_mail(tmp_path: Path, text: str, message: str) -> None:
    assert refused(tmp_path, f"events {{}}\nmail {{\n\n {text}\n}}\n") == f"{message} in DIR/n.conf:4"


def server(listen: str) -> str:
    return f"events {{}} mail {{ auth_http 127.0.0.1:9;\n server {{ protocol imap;\n{listen}\n}} }}"


@pytest.mark.parametrize(("text", "reason"), LISTENS)
def test_listen(tmp_path: Path, text: str, reason: str) -> None:
    shown = "" if text == "''" else text
    expected = f'{reason} in "{shown}" of the "listen" directive in DIR/n.conf:3'
    assert refused(tmp_path, server(f"listen {text};")) == expected


@pytest.mark.parametrize(("text", "message"), PARAMETERS)
def test_listen_parameters(tmp_path: Path, text: str, message: str) -> None:
    assert refused(tmp_path, server(f"listen 127.0.0.1:143 {text};")) == f"{message} in DIR/n.conf:3"


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ("127.0.0.1:143", "127.0.0.1:0143", "127.0.0.1:143"),
        ("*:143", "0.0.0.0:143", "0.0.0.0:143"),
        ("143", "*:143", "0.0.0.0:143"),
        ("[::1]:143", "[0:0::1]:143", "[::1]:143"),
        ("140-145", "143", "0.0.0.0:143"),
        ("unix:/a", "unix:/a", "unix:/a"),
        ("127.0.0.1", "127.0.0.1 bind", "127.0.0.1:0"),
    ],
)
def test_listen_twice(tmp_path: Path, first: str, second: str, shown: str) -> None:
    message = f'duplicate "{shown}" address and port pair in DIR/n.conf:4'
    assert refused(tmp_path, server(f"listen {first};\nlisten {second};")) == message
    other = f"listen {first}; }} server {{ protocol pop3;\nlisten {second};"
    assert refused(tmp_path, server(other)) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'no "events" section in configuration'),
        ("mail {}", 'no "events" section in configuration'),
        ("events{} mail{\n server {\n}\n}", 'no "listen" is defined for server in DIR/n.conf:2'),
        (
            "events{} mail {\n\n server { listen 1143; } }",
            "unknown mail protocol for server in DIR/n.conf:3",
        ),
        (
            "events{} mail {\n server { listen 143; } }",
            'no "auth_http" is defined for server in DIR/n.conf:2',
        ),
        # nginx looks at all protocols first
        (
            "events{} mail {\n server { listen 143; }\n server { listen 1143; } }",
            "unknown mail protocol for server in DIR/n.conf:3",
        ),
        ("events { worker_connections 0; }", "0 worker_connections are not enough for 0 listening sockets"),
        (
            "events { worker_connections 2; } mail { auth_http 127.0.0.1; server { listen 143; listen 1; } }",
            "2 worker_connections are not enough for 2 listening sockets",
        ),
    ],
)
def test_the_whole(tmp_path: Path, text: str, message: str) -> None:
    assert refused(tmp_path, text) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("daemon off", 'unexpected end of parameter, expecting ";" in command line'),
        ("events {}", "block directives are not supported in -g option in command line"),
        ("foo;", 'unknown directive "foo" in command line'),
        ("daemon on;", '"daemon" directive is duplicate in DIR/n.conf:1'),
    ],
)
def test_command_line(tmp_path: Path, text: str, message: str) -> None:
    assert refused(tmp_path, "daemon off; events {}", globals_text=text) == message


def test_unreadable_files(tmp_path: Path) -> None:
    assert refused(tmp_path, "\ninclude none;") == (
        'open() "DIR/none" failed (2: No such file or directory) in DIR/n.conf:2'
    )
    with pytest.raises(ConfigError) as caught:
        load("none", prefix=str(tmp_path))
    assert str(caught.value) == f'open() "{tmp_path}/none" failed (2: No such file or directory)'
    assert refused(tmp_path, "include .;") == 'pread() "DIR/." failed (21: Is a directory)'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user no-such-user;", 'getpwnam("no-such-user") failed'),
        ("user root no-such-group;", 'getgrnam("no-such-group") failed'),
        ("user root; user root;", '"user" directive is duplicate'),
        ("user 'a\0b';", 'getpwnam("a\0b") failed'),
    ],
)
def test_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert refused(tmp_path, text) == f"{message} in DIR/n.conf:1"


def test_a_file_that_includes_itself(tmp_path: Path) -> None:
    assert refused(tmp_path, "include n.conf;") == '"include" directive is nested too deeply in DIR/n.conf:1'


def test_long_messages_are_cut(tmp_path: Path) -> None:
    message = refused(tmp_path, "é" * 2000 + ";")
    assert message.startswith('unknown directive "éé')
    assert message.endswith(" in DIR/n.conf:1")
    assert len(message.encode("utf-8", "surrogateescape")) == 1024 + len(" in DIR/n.conf:1")


WORDS = st.one_of(
    st.sampled_from(sorted(TABLE)).map(str.encode),
    st.sampled_from([b"{", b"}", b";", b";", b";", b"on", b"1", b"143", b"127.0.0.1:143", b"unix:/x", b"\0"]),
    st.binary(max_size=6),
)


STARTS = [b"", b"events {}", b"events {} mail {", b"events {} mail { server {"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(WORDS, max_size=30).map(b" ".join), st.sampled_from(STARTS))
def test_whatever_a_file_holds_it_loads_or_is_refused(tmp_path: Path, data: bytes, start: bytes) -> None:
    (tmp_path / "n.conf").write_bytes(start + data)
    try:
        load("n.conf", prefix=str(tmp_path))
    except ConfigError as error:
        assert str(error)
