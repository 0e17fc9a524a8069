"""What load() returns: values, defaults, inheritance, included files, addresses, warnings."""

import os
import pwd
import resource
import socket
from pathlib import Path
from typing import Any

import pytest
from support.core_page import EXAMPLE

from fastmail.config import (
    NGINX,
    AuthHttp,
    ConfigError,
    Configuration,
    Defaults,
    ErrorLog,
    Listen,
    load,
    resolve_user,
)
from fastmail.config.address import print_inet6
from fastmail.config.auth_cache import AuthCache
from fastmail.config.listen import Keepalive
from fastmail.config.zone import Zone

NAMES = {b"localhost": ["127.0.0.1"], b"mx": ["192.0.2.1", "2001:db8::1", "192.0.2.1"]}


@pytest.fixture(autouse=True)
def few_names_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks a name server."""

    def lookup(name: bytes, port: None, **options: Any) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0))
            for host in NAMES[name]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(socket, "gethostname", lambda: "MX.Example.COM")


def read(path: Path, text: str, **options: Any) -> Configuration:
    (path / "n.conf").write_text(text)
    return load("n.conf", prefix=str(path), **options)


def mail(path: Path, text: str) -> Configuration:
    return read(path, f"events {{}} mail {{ auth_http 127.0.0.1:9; {text} }}")


def test_example_of_the_mail_core_page(tmp_path: Path) -> None:
    configuration = read(tmp_path, EXAMPLE)
    assert configuration.messages == []
    assert configuration.error_log == [ErrorLog("/var/log/nginx/error.log", 7)]
    assert configuration.main["worker_processes"] == os.sysconf("SC_NPROCESSORS_ONLN")
    assert configuration.events["worker_connections"] == 1024
    smtp, pop3, imap, submission = configuration.servers
    assert [(one.protocol, one.listens[0].text) for one in configuration.servers] == [
        ("smtp", "0.0.0.0:25"),
        ("pop3", "0.0.0.0:110"),
        ("imap", "0.0.0.0:143"),
        ("smtp", "0.0.0.0:587"),
    ]
    assert imap.auth_http == AuthHttp(
        "http", "localhost", socket.AF_INET, ("127.0.0.1", 9000), "/cgi-bin/nginxauth.cgi", "127.0.0.1:9000"
    )
    assert imap["imap_capabilities"] == ("IMAP4rev1", "UIDPLUS", "IDLE", "LITERAL+", "QUOTA")
    assert pop3["pop3_auth"] == ("plain", "apop", "cram-md5")
    assert smtp["smtp_auth"] == ("plain", "login", "cram-md5")
    assert smtp["smtp_capabilities"] == ("SIZE 10485760", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN")
    assert [one["proxy_pass_error_message"] for one in configuration.servers] == [False, True, False, False]
    assert not submission["xclient"]
    assert submission["server_name"] == "mail.example.com"


def test_defaults(tmp_path: Path) -> None:
    configuration = mail(tmp_path, "server { listen 143; }")
    page = resource.getpagesize()
    expected = {
        "server_name": "mx.example.com",
        "timeout": 60_000,
        "max_errors": 5,
        "resolver": None,
        "auth_http_timeout": 60_000,
        "auth_http_header": (),
        "auth_http_pass_client_cert": False,
        "auth_http_keepalive": 0,
        "auth_http_transport": "engine",
        "imap_auth": ("plain",),
        "imap_capabilities": ("IMAP4", "IMAP4rev1", "UIDPLUS"),
        "pop3_auth": ("plain",),
        "pop3_capabilities": ("TOP", "USER", "UIDL"),
        "smtp_auth": ("plain", "login"),
        "smtp_capabilities": (),
        "smtp_greeting_delay": 0,
        "imap_client_buffer": page,
        "smtp_client_buffer": page,
        "proxy_buffer": page,
        "proxy_timeout": 86_400_000,
        "proxy_pass_error_message": False,
        "proxy_protocol": "off",
        "proxy_smtp_auth": False,
        "xclient": True,
        "starttls": "off",
        "resolver_timeout": 30_000,
    }
    server = configuration.servers[0]
    assert {name: server[name] for name in expected} == expected
    assert configuration.main["worker_processes"] == 1
    assert configuration.main["daemon"] is configuration.main["master_process"] is True
    assert configuration.main["user"][0] == "nobody"
    assert configuration.main["worker_rlimit_nofile"] is None
    assert dict(configuration.events) == {
        "worker_connections": 512,
        "use": "epoll",
        "multi_accept": False,
        "accept_mutex": False,
        "accept_mutex_delay": 500,
        "debug_connection": (),
        "epoll_events": 512,
        "worker_aio_requests": 32,
    }
    assert server.location == f"{tmp_path}/n.conf:1"


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("timeout 1m; server { listen 143; }", "timeout", 60_000),
        ("timeout 1m; server { listen 143; timeout 2m; }", "timeout", 120_000),
        ("server { listen 143; xclient OFF; }", "xclient", False),
        ("xclient off; server { listen 143; xclient on; }", "xclient", True),
        ("server_name A; server { listen 143; }", "server_name", "A"),
        ("server_name A; server { listen 143; server_name ''; }", "server_name", "mx.example.com"),
        ("auth_http_cache off; server { listen 143; }", "auth_http_cache", None),
        (
            "auth_http_cache zone=a:1m; server { listen 143; }",
            "auth_http_cache",
            AuthCache(Zone("a", 1 << 20), 60_000, 10_000),
        ),
        (
            "auth_http_cache invalid=0 zone=a:64k valid=1h; server { listen 143; }",
            "auth_http_cache",
            AuthCache(Zone("a", 1 << 16), 3_600_000, 0),
        ),
        ("auth_http_cache zone=a:1m; server { listen 143; auth_http_cache off; }", "auth_http_cache", None),
        ("imap_auth login; imap_auth PLAIN; server { listen 143; }", "imap_auth", ("plain", "login")),
        ("imap_auth login; server { listen 143; imap_auth cram-md5; }", "imap_auth", ("cram-md5",)),
        (
            "imap_capabilities A B; imap_capabilities C; server { listen 143; }",
            "imap_capabilities",
            ("A", "B", "C"),
        ),
        ("imap_capabilities A; server { listen 143; imap_capabilities B; }", "imap_capabilities", ("B",)),
        (
            "auth_http_header A b; auth_http_header C 'd e'; server { listen 143; }",
            "auth_http_header",
            (("A", "b"), ("C", "d e")),
        ),
        (
            "auth_http_header A b; server { listen 143; auth_http_header C d; }",
            "auth_http_header",
            (("C", "d"),),
        ),
        ("proxy_buffer 8k; server { listen 143; }", "proxy_buffer", 8192),
        ("auth_http_keepalive 8; server { listen 143; auth_http_keepalive 0; }", "auth_http_keepalive", 0),
        ("server { listen 143; auth_http_transport AIOHTTP; }", "auth_http_transport", "aiohttp"),
        ("server { listen 143; protocol pop3; protocol smtp; }", "protocol", "smtp"),
        ("server { protocol pop3; listen 143; }", "protocol", "pop3"),
        ("server { listen 1143; listen 995; listen 25; }", "protocol", "pop3"),
        ("server { listen 110-200; }", "protocol", "pop3"),
        ("imap_capabilities $foo '${x}'; server { listen 143; }", "imap_capabilities", ("$foo", "${x}")),
    ],
)
def test_inheritance(tmp_path: Path, text: str, name: str, value: Any) -> None:
    assert mail(tmp_path, text).servers[0][name] == value


def test_a_later_mail_level_value_holds_for_earlier_servers(tmp_path: Path) -> None:
    assert mail(tmp_path, "server { listen 143; } timeout 7s;").servers[0]["timeout"] == 7000


@pytest.mark.parametrize(
    "text",
    [
        *(
            "starttls off",
            "proxy_protocol OFF",
            "resolver off 127.0.0.1",
            "ssl_session_tickets on",
            "proxy on",
        ),
        *(
            "ssl_protocols TLSv1.3 tlsv1.2",
            "ssl_session_cache none",
            "ssl_session_cache off",
            "ssl_verify_depth 1",
        ),
        *("auth_http_pass_client_cert off", "ssl_session_timeout 300", "ssl_ciphers HIGH:!aNULL:!MD5"),
        *(
            "ssl_verify_client off",
            "ssl_ecdh_curve auto",
            "ssl_prefer_server_ciphers off",
            "resolver_timeout 1s",
        ),
    ],
)
def test_values_that_ask_for_nothing_are_accepted(tmp_path: Path, text: str) -> None:
    assert mail(tmp_path, f"{text}; server {{ listen 143; {text}; }}").messages == []


def test_main_directives_that_need_no_function(tmp_path: Path) -> None:
    text = """worker_priority 0; worker_shutdown_timeout 0; env TZ; lock_file x; debug_points abort;
        timer_resolution 100ms; ssl_object_cache_inheritable on; daemon off; master_process OFF;
        events { use epoll; accept_mutex on; accept_mutex_delay 1s; epoll_events 1; }"""
    configuration = read(tmp_path, text)
    assert configuration.messages == []
    assert configuration.main["daemon"] is configuration.main["master_process"] is False


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("143", [("0.0.0.0:143", "0.0.0.0")]),
        ("*:143", [("0.0.0.0:143", "0.0.0.0")]),
        ("127.0.0.1:0143", [("127.0.0.1:143", "127.0.0.1")]),
        ("1..2.03:143", [("1.0.2.3:143", "1.0.2.3")]),
        ("[::1]:143", [("[::1]:143", "::1")]),
        ("[::]:143", [("[::]:143", "::")]),
        ("[2001:DB8:0:0::0:1]:143", [("[2001:db8::1]:143", "2001:db8::1")]),
        ("mx:143", [("192.0.2.1:143", "192.0.2.1"), ("[2001:db8::1]:143", "2001:db8::1")]),
        ("143-145", [(f"0.0.0.0:{port}", "0.0.0.0") for port in (143, 144, 145)]),
        ("[::1]:143-144", [("[::1]:143", "::1"), ("[::1]:144", "::1")]),
        ("127.0.0.1", [("127.0.0.1:0", "127.0.0.1")]),
        ("*", [("0.0.0.0:0", "0.0.0.0")]),
        ("[::1]", [("[::1]:0", "::1")]),
        ("localhost", [("127.0.0.1:0", "127.0.0.1")]),
    ],
)
def test_listen_addresses(tmp_path: Path, listen: str, expected: list[tuple[str, str]]) -> None:
    listens = mail(tmp_path, f"server {{ protocol imap; listen {listen}; }}").servers[0].listens
    assert [one.text for one in listens] == [text for text, _ in expected]
    for one, (text, host) in zip(listens, expected, strict=True):
        assert one.family == (socket.AF_INET6 if ":" in host else socket.AF_INET)
        assert one.address == (host, int(text.rpartition(":")[2]))


def test_listen_on_a_unix_socket(tmp_path: Path) -> None:
    [listen] = mail(tmp_path, "server { protocol imap; listen unix:/run/i.sock; }").servers[0].listens
    assert listen == Listen(
        "unix:/run/i.sock", socket.AF_UNIX, "/run/i.sock", 511, False, f"{tmp_path}/n.conf:1"
    )


def test_listen_parameters(tmp_path: Path) -> None:
    text = (
        "listen 1; listen 2 bind; listen 3 backlog=7; listen [::]:4 ipv6only=on; listen 5 so_keepalive=off;"
    )
    listens = mail(tmp_path, f"server {{ protocol imap; {text} }}").servers[0].listens
    assert [one.backlog for one in listens] == [511, 511, 7, 511, 511]
    assert [one.bind for one in listens] == [False, True, True, True, True]


@pytest.mark.directive("listen")
@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("rcvbuf=8k", "rcvbuf", 8192),
        ("rcvbuf=0", "rcvbuf", 0),
        ("sndbuf=1M", "sndbuf", 1 << 20),
        ("sndbuf=9999m", "sndbuf", 2**31 - 1),
        ("bind", "rcvbuf", None),
        ("ipv6only=off", "ipv6only", False),
        ("ipv6only=on", "ipv6only", True),
        ("multipath", "multipath", True),
        ("bind", "so_keepalive", None),
        ("so_keepalive=on", "so_keepalive", Keepalive(True)),
        ("so_keepalive=off", "so_keepalive", Keepalive(False)),
        ("so_keepalive=30m::10", "so_keepalive", Keepalive(True, 1800, 0, 10)),
        ("so_keepalive=:5", "so_keepalive", Keepalive(True, 0, 5, 0)),
        ("so_keepalive=7", "so_keepalive", Keepalive(True, 7, 0, 0)),
    ],
)
def test_listen_options(tmp_path: Path, words: str, name: str, value: object) -> None:
    [listen] = mail(tmp_path, f"server {{ protocol imap; listen [::]:1 {words}; }}").servers[0].listens
    assert getattr(listen, name) == value
    assert listen.bind


def test_addresses_beside_a_wildcard(tmp_path: Path) -> None:
    text = "listen *:143; listen 127.0.0.1:143; listen [::1]:143; listen [::]:144; listen 145;"
    assert len(mail(tmp_path, f"server {{ {text} }}").servers[0].listens) == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", ("http", "127.0.0.1", ("127.0.0.1", 80), "/", "127.0.0.1:80")),
        ("http://mx:8080/a?b", ("http", "mx", ("192.0.2.1", 8080), "/a?b", "192.0.2.1:8080")),
        ("127.0.0.1:80?a=b:c", ("http", "127.0.0.1", ("127.0.0.1", 80), "?a=b:c", "127.0.0.1:80")),
        ("127.0.0.1/a:b", ("http", "127.0.0.1", ("127.0.0.1", 80), "/a:b", "127.0.0.1:80")),
        ("[::1]:81/x", ("http", "[::1]", ("::1", 81), "/x", "[::1]:81")),
        ("unix:/run/a:/x", ("unix", "localhost", "/run/a", "/x", "unix:/run/a")),
        ("http://unix:/run/a", ("unix", "localhost", "/run/a", "/", "unix:/run/a")),
        ("https://localhost/x", ("https", "localhost", ("127.0.0.1", 443), "/x", "127.0.0.1:443")),
        ("https://[::1]:8443", ("https", "[::1]", ("::1", 8443), "/", "[::1]:8443")),
    ],
)
def test_auth_http(tmp_path: Path, text: str, expected: tuple[Any, ...]) -> None:
    auth = mail(tmp_path, f"server {{ listen 143; auth_http '{text}'; }}").servers[0].auth_http
    assert (auth.scheme, auth.host, auth.address, auth.uri, auth.text) == expected


def test_all_addresses_of_an_auth_server(tmp_path: Path) -> None:
    auth = mail(tmp_path, "server { listen 143; auth_http mx:8080; }").servers[0].auth_http
    addresses = ((socket.AF_INET, ("192.0.2.1", 8080)), (socket.AF_INET6, ("2001:db8::1", 8080)))
    assert auth.addresses == addresses


def test_the_last_auth_http_counts(tmp_path: Path) -> None:
    configuration = mail(tmp_path, "server { listen 143; } auth_http 127.0.0.2/b;")
    assert configuration.servers[0].auth_http.text == "127.0.0.2:80"


def test_error_logs(tmp_path: Path) -> None:
    configuration = read(
        tmp_path,
        """error_log stderr; error_log logs/x debug_mail debug_core; error_log /y crit; events {}
        mail { auth_http 127.0.0.1; error_log off info;
            server { listen 143; } server { listen 110; error_log z notice; error_log '' emerg; } }""",
    )
    assert configuration.error_log == [
        ErrorLog("stderr", 4),
        ErrorLog(f"{tmp_path}/logs/x", 8),
        ErrorLog("/y", 3),
    ]
    assert configuration.servers[0].error_log == [ErrorLog(f"{tmp_path}/off", 7)]
    assert configuration.servers[1].error_log == [ErrorLog(f"{tmp_path}/z", 6), ErrorLog("stderr", 1)]


def test_error_log_of_who_says_nothing(tmp_path: Path) -> None:
    default = [ErrorLog("/var/log/fastmail.log", 4)]
    configuration = mail(tmp_path, "server { listen 143; }")
    assert configuration.error_log == configuration.servers[0].error_log == default
    assert read(tmp_path, "events {}", identity="nginx").error_log == [ErrorLog("stderr", 4)]
    own = Defaults("/p/", "c", "logs/e", "logs/p", "logs/l")
    assert read(tmp_path, "events {}", defaults=own).error_log == [ErrorLog(f"{tmp_path}/logs/e", 4)]


def test_pid_file(tmp_path: Path) -> None:
    assert read(tmp_path, "events {}").main["pid"] == "/run/fastmail.pid"
    assert read(tmp_path, "events {}", identity="nginx").main["pid"] == NGINX.pid
    assert read(tmp_path, "pid run/p; events {}").main["pid"] == f"{tmp_path}/run/p"


def test_includes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "n.conf").write_text("include a/*.conf;\ninclude none*; include events;")
    (tmp_path / "sub" / "a").mkdir()
    for name, text in {
        "b.conf": "mail { auth_http 127.0.0.1; include ../x/[s]erver.inc; include a/server.inc; }",
        "B.conf": "daemon off;",
        "a.conf": "worker_processes\n3\n;",
        ".c.conf": "}",
        "server.inc": "server { include a/listen.inc; }",
        "listen.inc": "listen 143;",
    }.items():
        (tmp_path / "sub" / "a" / name).write_text(text)
    (tmp_path / "sub" / "events").write_text("events { include events-inner; }")
    (tmp_path / "sub" / "events-inner").write_text("multi_accept on;")
    configuration = load("sub/n.conf", prefix=str(tmp_path))
    names = [path.removeprefix(f"{tmp_path}/sub/") for path, _ in configuration.files]
    assert names == [
        *(
            "n.conf",
            "a/B.conf",
            "a/a.conf",
            "a/b.conf",
            "a/server.inc",
            "a/listen.inc",
            "events",
            "events-inner",
        )
    ]
    assert dict(configuration.files)[f"{tmp_path}/sub/a/listen.inc"] == b"listen 143;"
    assert configuration.main["worker_processes"] == 3
    assert configuration.events["multi_accept"] is True
    assert configuration.servers[0].location == f"{tmp_path}/sub/a/server.inc:1"


def test_a_file_included_twice_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("timeout 1s;")
    configuration = mail(tmp_path, "server { listen 143; include s; } server { listen 110; include s; }")
    assert len(configuration.files) == 2
    assert [one["timeout"] for one in configuration.servers] == [1000, 1000]


def test_directives_of_the_command_line(tmp_path: Path) -> None:
    configuration = read(tmp_path, "events {}", globals_text="daemon off; worker_processes 4;")
    assert configuration.main["daemon"] is False
    assert configuration.main["worker_processes"] == 4


def test_a_shared_nginx_conf_loads_with_warnings(tmp_path: Path) -> None:
    text = """load_module modules/x.so;
pcre_jit on; thread_pool default threads=32;
events {}
http {
    map $a $b { default "}"; '{' x; } # }
    server { listen 80; location ~ \\.php$ { return 200 ok; } }
}
stream { }
mail { auth_http 127.0.0.1; server { listen 143; } }
"""
    configuration = read(tmp_path, text)
    file = f"{tmp_path}/n.conf"
    assert configuration.messages == [
        ("warn", f'"http" block has no use in a mail proxy, ignored in {file}:4'),
        ("warn", f'"stream" block has no use in a mail proxy, ignored in {file}:8'),
    ]
    assert configuration.servers[0].location == f"{file}:9"


def test_warnings(tmp_path: Path) -> None:
    configuration = mail(tmp_path, "imap_auth plain PLAIN; server { listen 143; }")
    assert configuration.messages == [("warn", f'duplicate value "PLAIN" in {tmp_path}/n.conf:1')]


def test_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    configuration = read(tmp_path, "user root; events {}")
    assert configuration.main["user"] == ("root", "root")
    assert read(tmp_path, "user nobody root; events {}").main["user"] == ("nobody", "root")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    configuration = read(tmp_path, "user no-such-user; events {}")
    assert configuration.messages == [
        (
            "warn",
            'the "user" directive makes sense only if the master process runs with super-user '
            f"privileges, ignored in {tmp_path}/n.conf:1",
        )
    ]


def test_resolving_the_user(tmp_path: Path) -> None:
    assert resolve_user("root", "root") == (0, 0)
    default = read(tmp_path, "events {}").main["user"]
    assert resolve_user(*default)[0] == pwd.getpwnam("nobody").pw_uid
    with pytest.raises(ConfigError, match=r'^getgrnam\("no-such-group"\) failed$'):
        resolve_user("root", "no-such-group")


def test_mail_may_be_empty_or_missing(tmp_path: Path) -> None:
    assert read(tmp_path, "events {}").servers == []
    assert read(tmp_path, "events {} mail {}").servers == []


@pytest.mark.parametrize(
    "text",
    [
        *(
            "::",
            "::1",
            "1::",
            "1:2:3:4:5:6:7:8",
            "1:0:3:4:5:6:7:8",
            "1::2:0:0:3:4",
            "fe80::1:0:0:1",
            "::1:2:3",
        ),
        *("::ffff:1.2.3.4", "::1.2.3.4", "::0.0.171.205", "::ffff:0:102:304", "2001:db8::a:0:0:1"),
    ],
)
def test_printed_ipv6(text: str) -> None:
    assert print_inet6(socket.inet_pton(socket.AF_INET6, text)) == text
