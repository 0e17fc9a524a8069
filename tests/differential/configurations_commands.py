"""Command lines (reference 11.1), run in the directory of configuration.FILES."""

WHERE = ("-p", "DIR", "-e", "boot.log")
TEST = (*WHERE, "-t", "-c")

COMMANDS = [
    # -t, -T, -q
    (*TEST, "mail.conf"), (*TEST, "broken.conf"), (*TEST, "nowhere.conf"), (*TEST, "directory"),
    (*TEST, "directory/one.inc"), (*TEST, "no-events.conf"), (*TEST, "DIR/mail.conf"), (*TEST, "mail.conf/x"),
    (*TEST, "mail.conf", "-q"), (*TEST, "broken.conf", "-q"), (*TEST, "no-events.conf", "-q"), (*TEST, ""),
    (*WHERE, "-tqcmail.conf"), (*WHERE, "-T", "-c", "mail.conf"), (*WHERE, "-Tq", "-c", "mail.conf"),
    (*WHERE, "-T", "-c", "broken.conf"), (*WHERE, "-tT", "-c", "mail.conf"), (*WHERE, "-t", "-t", "-cmail.conf"),
    (*TEST, "broken.conf", "-c", "mail.conf"), (*TEST, "mail.conf", "-c", "broken.conf"),
    ("-p", "DIR/", "-e", "boot.log", "-tc", "mail.conf"), ("-p", "DIR", "-p", "DIR/directory", *TEST[2:], "mail.conf"),
    ("-p", "DIR/nowhere", "-e", "DIR/boot.log", "-t", "-c", "mail.conf"),
    ("-p", "DIR/nowhere", "-e", "DIR/boot.log", "-t", "-c", "DIR/mail.conf"),
    # -g
    *((*TEST, "mail.conf", "-g", text) for text in [
        "daemon on;", "daemon on; master_process on;", "daemon on", "moo;", "daemon x;", "daemon;", "events {}",
        "mail {", "{", "}", ";", "", " ", "#", "daemon on; # x", "daemon on; }", "'", '"a', "daemon 'on'", "a\\",
        "daemon on;\nmoo;", "timeout 1s;", "pid x;", "error_log x.log; error_log y.log info;", "include main.inc;",
        "include nowhere.inc;", "include unknown.inc;", "user a b c;", "worker_processes 2;", "load_module x y;",
        "error_log nowhere/x.log;", f"moo {'x' * 5000};", "daemon on; daemon on;",
    ]),
    (*TEST, "daemon.conf", "-g", "daemon on;"), (*TEST, "daemon.conf", "-g", "daemon off;"),
    (*TEST, "daemon.conf", "-g", "user root;"), (*TEST, "broken.conf", "-g", "daemon on;"),
    (*TEST, "broken.conf", "-g", "moo;"), (*TEST, "mail.conf", "-g", "moo;", "-g", "daemon on;"),
    (*TEST, "mail.conf", "-g", "daemon on;", "-g", "moo;"),
    # -e
    ("-p", "DIR", "-e", "stderr", "-q", "-t", "-c", "mail.conf"), ("-p", "DIR", "-e", "nowhere/b.log", "-tc", "mail.conf"),
    ("-p", "DIR", "-e", "DIR/nowhere/b.log", "-tc", "mail.conf"), ("-p", "DIR", "-e", "directory", "-tc", "mail.conf"),
    # wrong options
    ("-x",), ("-tx",), ("-xt",), ("foo",), ("-t", "foo"), ("foo", "-t"), ("-p",), ("-c",), ("-e",),
    ("-g",), ("-s",), ("-tc",), ("-tqp",), ("-tg",), ("-s", "foo"), ("-sfoo",), ("-s", ""), ("-s", "STOP"), ("-s", "kill"),
    ("-tvx",), ("-T", "x"), ("-q", "x"), ("-c", "x", "y"), ("-p", "DIR", "z"), ("-H",), ("-cv", "x"), ("-1",),
    # -s
    *((*WHERE, "-c", "mail.conf", "-s", word) for word in ["stop", "quit", "reopen", "reload"]),
    (*WHERE, "-c", "broken.conf", "-s", "stop"), (*WHERE, "-c", "nowhere.conf", "-s", "stop"),
    (*WHERE, "-c", "no-events.conf", "-s", "stop"), (*WHERE, "-c", "mail.conf", "-sreload", "-g", "pid x.pid;"),
    (*WHERE, "-c", "mail.conf", "-s", "reload", "-g", "daemon on; master_process on;"),
    (*WHERE, "-c", "mail.conf", "-s", "stop", "-s", "quit"),
]  # fmt: skip
