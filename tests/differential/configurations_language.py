"""Configurations: lexer, include, statements, kinds of values (reference section 1)."""

from configurations import Table

LONG = "x" * 4096
FITS = "x" * 4094

LEXER = Table(
    whole=["", "\n", "}", "{", ";", '"', "'", "\\", "$", "# comment", "#", "a", "events", "events {", "events }",
           "events {} }", "events {};", "events {{}}", "events { } ; user a;", "events\r\n{\r\n}\r\nmoo;\r\n",
           "\ufeffevents {}", "moo 'x' ;", "\n\n\nmoo;", "moo\n\n\n;", "moo\nmoo2\n;", "# a\n# b\nmoo;",
           "events {} # mail {\nmoo;", "pid n.pid; events { # }\n}", "events {}\0", "\0;", "moo;\0", "\udcff\udcfe;",
           "events {}}", f"{LONG};", f"{FITS};", f"a {LONG};", f'"{LONG}";', f"'{LONG}';", f"a '{FITS}';", f"a\n'{LONG}';",
           f"# {LONG}\nmoo;", f"# {FITS[2:]}\nmoo;", f"\n\n# {LONG * 2}", f'a "{LONG}', f"a {LONG}", 'a "b',
           "a 'b\nc", "a \\", "a \\\n", "a b\\", 'events {}\nuser "a', "${", "a ${", "$a{", "a$b{c;", "${a};",
           "a$;", '"a"b;', "'a'b;", '"a""b";', "'a'\"b\";", '"a"#;', '"a")x;', "'a'){}", '"a"}', '"a"{}', "''{}",
           '"";', "'' '';", "a)b;", "(;", "a'b;", 'a"b;', "a#b;", "a}b;", "a\\;b;", "a\\{b;", '"a\\"b";',
           "'a\\'b';", '"a\\\\";', "\\t;", "\\n;", "a\\tb;", "'a\\rb';", "\\$a;", "\\\\;", "\\;", '"\\n";'],
    main_alone=["events {\n}\nmail {\nserver {\n}\n", "events {\n}\nmail {\n\n\n\n", "mail { } {",
                "events {} mail {\n} }", "mail\n"],
    mail=["timeout 1s", "timeout 1s }", "timeout\n1s\n;", "timeout '1s';", 'timeout "1s"', "timeout '1s'x;",
          'timeout "1s" ;', "server_name a\\;b;", "server_name ${a}b;", "server_name a$b{c;", "server_name $a;",
          "server_name a'b;", 'server_name a"b;', "server_name '\n\n'; moo;", "server_name \"a\nb\nc\" d;",
          "imap_capabilities 'A' \"B\" 'C D';", "imap_capabilities a#b;", "imap_capabilities a #b;",
          "imap_capabilities a) b;", "imap_capabilities 'a') b;", "imap_capabilities a}b; moo;", "}}", "}",
          "{", "{}", "; ;", "timeout 1s;;", "timeout 1s;}", "timeout {1s;", "'timeout' 1s;", "time\\out 1s;",
          '"timeout 1s";', "timeout\t1s\t;\tmoo;", f"server_name {FITS};", f"server_name '{FITS}';",
          f"server_name {LONG};", f"\n\nserver_name\n\n'{LONG}';", f"\nserver_name\n\n\"{LONG};"],
)  # fmt: skip

INCLUDE = Table(
    whole=["include mail.conf;", "include broken.conf;", "\n\ninclude mail.conf;\nmoo;", "include mail.conf"],
    mail=["include;", "include a b;", "include {", "include good.inc {}", "include good.inc;",
          "include good.inc;\ninclude good.inc;", "include again.inc;", "include half.inc;", "include open.inc;",
          "include close.inc;", "include unknown.inc;", "\ninclude nested.inc;", "include missing.inc;",
          "include nowhere.inc;", "include 'nowhere.inc';", "include no*where;", "include no?where;",
          "include no[w]here;", "include *.sorted;", "include set-?.sorted;", "include set-[a].sorted;",
          "include set-[b]*;\nmoo;", "include directory;", "include directory/one.inc;", "include directory/*;",
          "include nodirectory/*;", "include ./good.inc;", "include ../nowhere.inc;", "include /nowhere/x.inc;",
          "include empty.inc;", "include comment.inc; moo;", "include '';", "include *;", "include good.inc/x;",
          "include n-*.conf;", "include \"good.inc\\0\";", "include {good,again}.inc;"],
    main=["include nowhere.conf;", "include unknown.inc;", "include good.inc;", "include close.inc;"],
    events=["include nowhere.conf;", "include unknown.inc;", "include good.inc;", "include empty.inc;"],
    server=["include good.inc;", "include good.inc; timeout 1s;", "include unknown.inc;", "include *.none;",
            "include half.inc;"],
)  # fmt: skip

STATEMENTS = Table(
    main=["moo;", "moo {}", "moo { moo; }", "moo a b c d e f g h i j;", "Daemon on;", "MAIL {}", "daemon;",
          "daemon on off;", "daemon on {", "daemon on { }", "mail;", "mail x;", "mail x {}", "mail {} mail {}",
          "events {}", "events;", "server {}", "server;", "listen 143;", "timeout 1s;", "timeout {",
          "worker_connections 10;", "use epoll;", "proxy_pass x;", "location / {}", "daemon on; daemon on;",
          "imap { }", "worker_threads 4;", "daemon on; daemon off;", "pid a; ", "user a b c;", "error_log;", "ssl on;", "starttls on;",
          "set_real_ip_from 1.1.1.1;", "xclient on;", "thread_pool x;", "thread_pool a b c d;", "gzip on;"],
    events=["moo;", "moo {}", "worker_connections;", "worker_connections 1 2;", "worker_connections 1 {}",
            "worker_connections 10; worker_connections 10;", "use epoll; use epoll;", "server {}", "events {}",
            "mail {}", "timeout 1;", "daemon on;", "error_log x;", "multi_accept on; multi_accept on;",
            "accept_mutex;", "listen 1;", "debug_connection;", "debug_connection a b;"],
    mail=["moo;", "moo {}", "events {}", "mail {}", "http {}", "daemon on;", "worker_connections 1;", "server;",
          "server x {}", "server_name a b;", "server_name;", "server_name {}", "listen 143;", "protocol imap;",
          "proxy_pass x;", "location / {}", "proxy_pass_error_message;", "timeout;", "timeout 1 2;",
          "timeout 1 2 3 {", "timeout 1s; timeout 1s;", "server_name a; server_name a;", "auth_http;",
          "auth_http a b;", "auth_http_header a;", "auth_http_header a b c;", "auth_http_header;", "imap_auth;",
          "imap_capabilities;", "xclient;", "pop3_auth;", "smtp_auth;", "ssl on;", "so_keepalive on;", "ssl_early_data on;",
          "ssl_stapling on;", "resolver;", "set_real_ip_from;", "set_real_ip_from a b;", "starttls;",
          "starttls on on;", "user nobody;", "pid x;", "load_module x;", "root /;", "upstream x {}", "if ($a) {}"],
    server=["moo;", "server {}", "mail {}", "listen;", "protocol;", "protocol imap pop3;", "protocol IMAP;",
            "protocol foo;", "protocol imap; protocol imap;", "protocol imap; protocol foo;", "timeout;",
            "timeout 1s; timeout 2s;", "proxy_timeout 1s; proxy_timeout 1s;", "xclient on; xclient off;",
            "auth_http 127.0.0.1; auth_http 127.0.0.2;", "user x;", "worker_connections 4;", "return 200;"],
)  # fmt: skip

_TIMES = ["30", "30s", "1h30m", "'1m 30s 500ms'", "1w2d", "500ms", "0", "''", "-1", "1x", "5S", "1s1m", "'5 s'",
          "1y", "1M", "1ms1s", "'30 '", "' 30'", "1.5s", "1d1d", "1hm", "s", "ms", "9223372036854775807",
          "9223372036854775808", "9223372036854776", "106751991168d", "1s500", "1m30", "1h500ms", "+1", "0x10",
          "1msx", "99999999999999999999999999999s", "1W", "1s 1", "10s;moo"]  # fmt: skip
_NUMBERS = ["0", "1", "007", "-1", "+1", "1k", "x", "''", "1.0", "9223372036854775807", "9223372036854775808",
            "99999999999999999999", "00000000000000000000000001", "' 1'", "'1 '", "0x1"]  # fmt: skip
_SIZES = ["1k", "1K", "1m", "1M", "1g", "4096", "''", "-1", "k", "m", "1kk", "1.5k", "x", "1b", "'1 k'",
          "9223372036854775807", "9007199254740993k", "9223372036854775808"]  # fmt: skip
_FLAGS = ["on", "off", "ON", "Off", "oN", "yes", "1", "true", "''", "onn", "o", "'on '"]

VALUES = Table(
    mail=[
        *(f"timeout {value};" for value in _TIMES),
        *(f"max_errors {value};" for value in _NUMBERS),
        *(f"imap_client_buffer {value};" for value in _SIZES),
        *(f"xclient {value};" for value in _FLAGS),
        *(f"ssl_session_timeout {value};" for value in ["x", "-1", "500ms", "'5 s'"]),
        *(f"imap_auth {words};" for words in [
            "plain", "PLAIN", "Plain Login", "plain plain", "foo", "plain foo", "''", "plain; imap_auth plain",
            "plain; imap_auth login", "login LOGIN", "apop", "none", "cram-md5 external", "cram_md5",
        ]),
        *(f"pop3_auth {words};" for words in [
            "plain", "apop", "login", "none", "APOP apop", "cram-md5 external plain apop", "plain; pop3_auth foo",
        ]),
        *(f"smtp_auth {words};" for words in [
            "none", "apop", "none none", "plain login cram-md5 external none", "NONE", "plain\nnone\nfoo",
        ]),
    ],
)  # fmt: skip

SECTIONS = {"lexer": LEXER, "include": INCLUDE, "statements": STATEMENTS, "values": VALUES}
