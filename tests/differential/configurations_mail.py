"""Configurations: the mail block, listen, auth_http, resolver, client addresses (reference sections 3 and 4)."""

from configurations import Table

_MSEC = ["auth_http_timeout", "resolver_timeout", "smtp_greeting_delay", "proxy_timeout"]
_FLAGS = ["auth_http_pass_client_cert", "proxy_pass_error_message", "proxy_smtp_auth", "xclient", "proxy"]
_SIZES = ["smtp_client_buffer", "proxy_buffer"]
_ENUMS = {
    "starttls": ["off", "OFF", "foo", "''"],
    "proxy_protocol": ["off", "OFF", "foo", "''"],
    "ssl_verify_client": ["off", "foo"],
}

OWN = Table(
    mail=[
        *(f"{name} {value};" for name in _MSEC for value in ("1s", "x", "1y", "''")),
        *(f"{name} 1s; {name} 1s;" for name in _MSEC),
        *(f"{name} {value};" for name in _FLAGS for value in ("off", "OFF", "x")),
        *(f"{name} off; {name} off;" for name in _FLAGS),
        *(f"{name} {value};" for name in _SIZES for value in ("8k", "x", "1g")),
        *(f"{name} 1k; {name} 1k;" for name in [*_SIZES, "imap_client_buffer"]),
        *(f"{name} {value};" for name, values in _ENUMS.items() for value in values),
        *(f"{name} off; {name} off;" for name in _ENUMS),
        "max_errors 1; max_errors 1;", "server_name '';", "server_name UPPER;", "server_name .a;",
        "imap_capabilities '';", "imap_capabilities A A;", "pop3_capabilities TOP; pop3_capabilities TOP;",
        "smtp_capabilities 'SIZE 1' X;", "auth_http_header a b;", "auth_http_header '' '';",
        "auth_http_header a b;\nauth_http_header a b;", "auth_http_header 'X Y' 'a\nb';",
        "ssl_protocols foo;", "ssl_protocols TLSv1.2 TLSv1.2;", "ssl_session_cache foo;",
        "ssl_session_cache shared:a;", "ssl_session_cache shared:a:1;", "ssl_session_cache shared::1m;",
        "ssl_session_cache builtin:x;", "ssl_session_cache none;", "ssl_session_cache off off off;",
        "ssl_session_cache shared:a:x;", "ssl_session_cache off; ssl_session_cache off;",
        "ssl_verify_depth x;", "ssl_prefer_server_ciphers x;", "ssl_session_tickets x;",
    ],
)  # fmt: skip

SERVERS = Table(
    mail=["server {}", "server {\n}", "\nserver\n{\n}", "server {\nprotocol imap;\n}", "server { listen 127.0.0.1:14310; }",
          "server {\nlisten 127.0.0.1:14310; protocol imap;\n}", "server { listen 127.0.0.1:143; }",
          "\n\nserver\n{\nlisten 127.0.0.1:143; }", "server { auth_http 127.0.0.1; listen 127.0.0.1:143; }",
          "auth_http 127.0.0.1;\nserver {\n}\nserver { listen 127.0.0.1:143; }",
          "auth_http 127.0.0.1; server { listen 127.0.0.1:14310; }\nserver { listen 127.0.0.1:143; }",
          "server { listen 127.0.0.1:143; auth_http 127.0.0.1; }\nserver { listen 127.0.0.1:110; }",
          "server { listen 127.0.0.1:14310; }\nserver {\n}", "server { moo; }", "server\n{\n\nmoo; }",
          "server {\nlisten 127.0.0.1:143; timeout 1x;\n}\nserver {\n}"],
    servers=[
        "server { listen 127.0.0.1:14310; listen 127.0.0.1:143; }", "server { listen 127.0.0.1:143; listen 127.0.0.1:14310; }",
        "server { listen 127.0.0.1:143; protocol smtp; }", "server { protocol smtp; listen 127.0.0.1:143; }",
        *(f"server {{ listen 127.0.0.1:{port}; }}" for port in (143, 993, 110, 995, 25, 465, 587, 144, 2525)),
        "server { listen 127.0.0.1:143; }\nserver { listen 127.0.0.1:143; }",
        "server { listen 127.0.0.1:143; }\nserver { listen 127.0.0.2:143; }",
        "server { listen 143; }\nserver { listen *:143; }", "server { listen 0.0.0.0:143; }\nserver {\nlisten\n143;\n}",
        "server { listen [::1]:143; }\nserver { listen [::1]:143; }",
        "server { listen [0:0::1]:143; }\nserver { listen [::1]:143; }",
        "server { listen unix:SITE/s; protocol imap; }\nserver { listen unix:SITE/s; }",
        "server { listen 127.0.0.1:14310-14312; protocol imap; }\nserver { listen 127.0.0.1:14311; protocol imap; }",
        "server { listen localhost:143; listen 127.0.0.1:143; }",
        "server { listen 127.0.0.1:143; listen 127.0.0.1:143 bind; }",
        "server { listen 127.0.0.1:143; }\nserver { timeout 1s; }",
    ],
)  # fmt: skip

_ADDRESSES = [
    "14310", "*:14310", "127.0.0.1:14310", "0.0.0.0:14310", "[::1]:14310", "[::]:14310", "localhost:14310",
    "14310-14312", "127.0.0.1:14310-14312", "[::1]:14310-14312", "127.0.0.1", "*", "[::1]", "localhost",
    "0", "65535", "65536", "99999", "-1", "x", "''", ":14310", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:x",
    "127.0.0.1:65536", "127.0.0.1:143x", "127.0.0.1:+143", "*:", "*:x", "*:0", "**:143", "[::1", "[::1]x",
    "[::1]143", "[::1]:", "[::1]:x", "[::1]:0", "[]:143", "[]", "[x]:143", "[127.0.0.1]:143", "[::1%lo]:143",
    "::1:143", "::1", "14312-14310", "127.0.0.1:14312-14310", "14310-", "-14310", "14310-x", "14310-65536",
    "14310-14311-14312", "0-14310", "127.0.0.1:14310-", "127.0.0.1:-14310", "127.0.0.1:0-2", "127.0.0.1:14310-x",
    "127.1:14310", "1..2.3:14310", "127.0.0.01:14310", "127.0.0.256:14310", "1.2.3.4.5:14310", "0127.0.0.1:14310",
    "014310", "127.0.0.1:014310", "host.invalid:14310", "host.invalid", "a_b.invalid:143", "a/b", "127.0.0.1/x",
    "127.0.0.1:14310/x", "127.0.0.1:14310?x", "unix:", "unix:x.sock", "unix:/nowhere/x.sock", f"unix:/{'x' * 107}",
    f"unix:/{'x' * 106}", "UNIX:/nowhere/x", "unix:/nowhere/a:b", "mx-1.invalid:143", "http://127.0.0.1:143",
    "'127.0.0.1 :143'", "127.0.0.1:14310:1", "9223372036854775808", "14310 14311", "192.0.2.1:14310", "1:2",
    "255.255.255.255:14310", "[::ffff:127.0.0.1]:14310", "[1:2:3:4:5:6:7:8:9]:143", "*:14310-14312",
]  # fmt: skip

_PARAMETERS = [
    "bind", "BIND", "bind bind", "backlog=10", "backlog=0", "backlog=-1", "backlog=x", "backlog=", "backlog",
    "backlog=1k", "Backlog=5", "rcvbuf=8k", "rcvbuf=x", "rcvbuf=", "rcvbuf", "rcvbuf=1g", "sndbuf=8k", "sndbuf=x",
    "sndbuf=-1", "ipv6only=on", "ipv6only=off", "ipv6only=x", "ipv6only=ox", "ipv6only=", "ipv6only", "ipv6only=o",
    "ipv6only=onx", "so_keepalive=on", "so_keepalive=off", "so_keepalive=30m::10", "so_keepalive=1:2:3",
    "so_keepalive=", "so_keepalive=::", "so_keepalive=:", "so_keepalive=0", "so_keepalive=x", "so_keepalive=1:2:3:4",
    "so_keepalive=30", "so_keepalive=30:", "so_keepalive=:30", "so_keepalive=::5", "so_keepalive=1m:1s:x",
    "so_keepalive=500ms", "so_keepalive=ON", "so_keepalive", "so_keepalive=0::5", "reuseport", "deferred",
    "default_server", "default", "SSL", "ssl=on", "http2", "proxy_protocol=on", "multipath=1", "setfib=1",
    "fastopen=3", "''", "bind foo", "foo bind", "backlog=5 backlog=6", "bind=1", "backlog=99999999999",
    "proxy_protocol", "backlog=10 rcvbuf=8k sndbuf=8k so_keepalive=on",
]  # fmt: skip

LISTEN = Table(
    listen=[
        *(f"listen {address};" for address in _ADDRESSES),
        *(f"listen 127.0.0.1:14310 {parameters};" for parameters in _PARAMETERS),
        "listen [::1]:14310 ipv6only=off;", "listen [::]:14310 ipv6only=on;", "listen unix:/nowhere/x ipv6only=on;",
        "listen x foo;", "listen 127.0.0.1:x foo;", "listen\n127.0.0.1:14310\nfoo\n;", "listen 127.0.0.1:14310 {",
        "listen 127.0.0.1:14310; listen 127.0.0.1:14310;", "listen 127.0.0.1:14310;\nlisten 127.0.0.1:14311;",
        "listen 127.0.0.1:14310 ssl foo;", "listen 127.0.0.1:14310 foo ssl;",
    ],
)  # fmt: skip

_URLS = [
    "127.0.0.1", "127.0.0.1:80", "127.0.0.1/", "127.0.0.1:80/auth", "127.0.0.1:80?a=b", "127.0.0.1?a=b",
    "127.0.0.1:80#x", "http://127.0.0.1", "http://127.0.0.1:80/a?b", "HTTP://127.0.0.1", "http://", "http:///x",
    "''", "/", "/x", ":80", ":80/x", "127.0.0.1:", "127.0.0.1:/x", "127.0.0.1:0", "127.0.0.1:x", "127.0.0.1:65536",
    "127.0.0.1:80x/", "localhost", "localhost:8080/x", "host.invalid", "host.invalid:80/x", "[::1]", "[::1]:80",
    "[::1]:80/x", "[::1]/x", "[::1", "[::1]x", "[::1]:x", "[x]", "[]", "[]:80", "unix:/x", "unix:/x:/auth", "unix:",
    "unix::/x", f"unix:/{'x' * 107}:/a", f"unix:/{'x' * 106}:/a", "http://unix:/x:/auth", "unix:x:", "*", "*:80", "80",
    "127.0.0.1:80-81", "127.0.0.1:080/", "ftp://127.0.0.1/", "http://127.0.0.1:80:80", "user@127.0.0.1",
    "127.0.0.256", "1..2.3", "http://http://127.0.0.1", "http://[::1]:0/", "a b", "'127.0.0.1/a b'",
]  # fmt: skip

AUTH_HTTP = Table(
    mail=[*(f"auth_http {url};" for url in _URLS), "auth_http 127.0.0.1;\nauth_http 127.0.0.1:x;"],
    server=["auth_http 127.0.0.1:x;", "auth_http 127.0.0.2;", "auth_http host.invalid/;"],
)  # fmt: skip

_RESOLVERS = [
    "off", "off x", "off foo=1", "off host.invalid", "OFF", "127.0.0.1", "127.0.0.1:53", "127.0.0.1:x", "127.0.0.1:0",
    "127.0.0.1:65536", "[::1]", "[::1]:53", "[::1", "::1", "localhost", "host.invalid", "127.0.0.1 127.0.0.2",
    "127.0.0.1 valid=10s", "127.0.0.1 valid=x", "127.0.0.1 valid=", "127.0.0.1 valid=500ms", "127.0.0.1 valid=1y",
    "valid=10s", "valid=10s 127.0.0.1", "127.0.0.1 ipv6=off", "127.0.0.1 ipv6=on", "127.0.0.1 ipv6=x",
    "127.0.0.1 ipv6=", "127.0.0.1 ipv6=OFF", "127.0.0.1 foo=1", "127.0.0.1 off", "ipv6=off", "''", "127.0.0.1/x",
    "127.0.0.1:53/x", "unix:/x", "*", "53", "127.0.0.1 valid", "127.0.0.1 VALID=1s", "127.0.0.1; resolver 127.0.0.1",
    "off; resolver off", "127.0.0.1 valid=-1", "127.0.0.1:53-54", "127.0.0.1\nfoo=1", "127.0.0.1 status_zone=a",
]  # fmt: skip

_NETWORKS = [
    "127.0.0.1", "10.0.0.0/8", "10.0.0.1/8", "10.0.0.1/32", "10.0.0.1/33", "10.0.0.1/", "10.0.0.1/x", "10.0.0.1/-1",
    "10.0.0.1/0", "0.0.0.0/0", "10.0.0.0/255.0.0.0", "::1", "::1/128", "::1/129", "fe80::/10", "fe80::1/10", "::/0",
    "[::1]", "unix:", "unix:/x", "UNIX:", "''", "localhost", "host.invalid", "host.invalid/8", "1.2.3", "1.2.3/8",
    "256.1.1.1", "1.2.3.4:80", "10.0.0.0/008", "*", "/8", "1..2.3/8", "10.0.0.0 /8", "::ffff:1.2.3.4", "all",
]  # fmt: skip

RESOLVER = Table(
    mail=[*(f"resolver {words};" for words in _RESOLVERS)],
    server=["resolver foo=1;", "resolver off;", "resolver_timeout x;"],
)  # fmt: skip

REALIP = Table(
    mail=[*(f"set_real_ip_from {network};" for network in _NETWORKS),
          "set_real_ip_from 127.0.0.1;\nset_real_ip_from 10.0.0.1/8;"],
    server=["set_real_ip_from 10.0.0.1/8;", "set_real_ip_from x/8;"],
)  # fmt: skip

SECTIONS = {
    "directives of mail": OWN,
    "servers": SERVERS,
    "listen": LISTEN,
    "auth_http": AUTH_HTTP,
    "resolver": RESOLVER,
    "set_real_ip_from": REALIP,
}
