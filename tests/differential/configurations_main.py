"""Configurations: main context, events, error_log, foreign and missing blocks (reference section 2)."""

from configurations import Table

MAIN = Table(
    main=["user nobody;", "user nobody nogroup;", "user root root;", "user nosuchuser;", "user nobody nosuchgroup;",
          "user '';", "user nobody; user nobody;", "worker_processes 0;", "worker_processes 2;",
          "worker_processes auto;", "worker_processes AUTO;", "worker_processes -1;", "worker_processes x;",
          "worker_processes 1; worker_processes 1;", "worker_cpu_affinity auto;", "worker_cpu_affinity auto 01;",
          "worker_cpu_affinity auto 01 10;", "worker_cpu_affinity 2;", "worker_cpu_affinity 01 1x;", "worker_cpu_affinity 01x2;",
          "worker_cpu_affinity 01;", "worker_cpu_affinity 01; worker_cpu_affinity 01;",
          "worker_processes 2; worker_cpu_affinity 01;", "worker_processes 2; worker_cpu_affinity 01 10;",
          "worker_cpu_affinity 01 10;", "worker_cpu_affinity '';", "worker_cpu_affinity;",
          f"worker_cpu_affinity {'0' * 1025};", f"worker_cpu_affinity {'1' * 1024};",
          "worker_priority 5;", "worker_priority -5;", "worker_priority +5;", "worker_priority x;",
          "worker_priority --5;", "worker_priority '';", "worker_priority -;", "worker_priority 1; worker_priority 1;",
          "worker_rlimit_nofile 1024;", "worker_rlimit_nofile x;", "worker_rlimit_nofile 1k;",
          "worker_rlimit_core 1g;", "worker_rlimit_core 1t;", "worker_rlimit_core x;", "worker_rlimit_core 10G;",
          "worker_shutdown_timeout 10s;", "worker_shutdown_timeout 1y;", "worker_shutdown_timeout x;",
          "worker_shutdown_timeout 1s; worker_shutdown_timeout 1s;", "working_directory /tmp;",
          "working_directory /nowhere;", "working_directory a; working_directory b;", "working_directory;",
          "env A;", "env A=B;", "env A; env A;", "env A B;", "env;", "env '';", "env TZ;", "env =;",
          "lock_file x;", "lock_file a; lock_file b;", "lock_file;", "daemon on;", "daemon x;",
          "master_process off;", "master_process x;", "debug_points stop;", "debug_points ABORT;",
          "debug_points foo;", "debug_points stop; debug_points stop;", "timer_resolution 100ms;",
          "timer_resolution x;", "pcre_jit on;", "pcre_jit x;", "pcre_jit on; pcre_jit on;",
          "thread_pool a threads=4;", "thread_pool a threads=4 max_queue=10;", "thread_pool a threads=0;",
          "thread_pool a threads=x;", "thread_pool a max_queue=5;", "thread_pool a max_queue=x threads=1;",
          "thread_pool a foo=1;", "thread_pool a threads=1 foo;", "thread_pool a threads=1; thread_pool a threads=1;",
          "thread_pool a threads=1; thread_pool b threads=2;", "thread_pool default threads=1;",
          "thread_pool a threads=2 max_queue=0;", "thread_pool a threads=;", "thread_pool a threads=-1;",
          "thread_pool a threads=1 threads=2;", "load_module nowhere.so;", "load_module;", "load_module a b;",
          "google_perftools_profiles x;", "ssl_engine;", "ssl_engine a; ssl_engine b;", "pid n.pid;"],
    main_alone=["events {}\npid n.pid;", "events {}", "", "mail {}", "daemon on;", "user nosuchuser;",
                "load_module /usr/lib/nginx/modules/ngx_mail_module.so;", "# nothing",
                "mail {\nserver {\n}\n}", "mail {\nserver {\nlisten 127.0.0.1:143;\n}\n}",
                "mail {\nauth_http 127.0.0.1;\nserver {\nlisten 127.0.0.1:143;\n}\n}", "events\n{\n}\nmail\n{\n}"],
    whole=["pid nowhere/n.pid; events {}", "pid a.pid; pid b.pid;", "pid; events {}",
           "pid n.pid; pid n.pid;", "pid directory; events {}"],
)  # fmt: skip

EVENTS = Table(
    events=["worker_connections 1024;", "worker_connections x;", "worker_connections '';", "worker_connections -1;",
            "worker_connections 0;", "worker_connections 1;", "worker_connections 1k;", "worker_connections 10000000;",
            "worker_connections 9223372036854775808;", "use epoll;", "use EPOLL;", "use kqueue;", "use foo;",
            "use '';", "multi_accept on;", "multi_accept x;", "accept_mutex on;", "accept_mutex 1;",
            "accept_mutex_delay 500ms;", "accept_mutex_delay x;", "accept_mutex_delay 1; accept_mutex_delay 1;",
            "debug_connection 10.0.0.1;", "debug_connection 10.0.0.0/8;", "debug_connection 10.0.0.1/8;",
            "debug_connection 10.0.0.0/33;", "debug_connection 10.0.0.0/x;", "debug_connection ::1;",
            "debug_connection ::1/128;", "debug_connection ::1/64;", "debug_connection ::/129;",
            "debug_connection unix:;", "debug_connection unix:/x;", "debug_connection '';",
            "debug_connection [::1];", "debug_connection localhost;", "debug_connection host.invalid;",
            "debug_connection 10.0.0.1;\ndebug_connection 10.0.0.2;", "epoll_events 10;", "epoll_events x;",
            "worker_aio_requests 10;", "worker_aio_requests x;", "epoll_events 1; epoll_events 1;"],
    main_alone=["events {\nworker_connections 2;\n}\nmail {\nauth_http 127.0.0.1;\n"
                "server { listen 127.0.0.1:143; listen 127.0.0.1:110; }\n}",
                "events {\nworker_connections 2;\n}\nmail {\nauth_http 127.0.0.1;\n"
                "server { listen 127.0.0.1:14311; protocol imap; }\n}",
                "events {\nworker_connections 1;\n}\nmail {\nauth_http 127.0.0.1;\n"
                "server { listen 127.0.0.1:14311; protocol imap; }\n}",
                "events {\nworker_connections 3;\n}\nmail {\nauth_http 127.0.0.1;\n"
                "server { listen 127.0.0.1:14311-14315; protocol imap; }\n}",
                "events {} events {}", "events {\n}\n\nevents {\n}", "events x {}", "events\n;"],
)  # fmt: skip

_LEVELS = ["", " emerg", " warn", " debug", " foo", " WARN", " ''", " warn warn", " warn info", " debug_mail",
           " debug_mail debug_core", " debug_mail warn", " warn debug_mail", " debug_foo", " debug_http debug_http",
           " info debug", " stderr"]  # fmt: skip
_SYSLOG = ["", "server=127.0.0.1", "server=127.0.0.1:514", "server=127.0.0.1:x", "server=[::1]", "server=[::1]:514",
           "server=", "server=host.invalid", "server=unix:/tmp/x", "server=unix:", "server=127.0.0.1,server=127.0.0.1",
           "foo=1", "server=127.0.0.1,foo=1", "facility=mail", "server=127.0.0.1,facility=zz",
           "server=127.0.0.1,facility=mail", "facility=mail,server=127.0.0.1",
           "server=127.0.0.1,facility=mail,facility=mail", "server=127.0.0.1,facility=",
           "server=127.0.0.1,facility=MAIL", "server=127.0.0.1,severity=warn", "server=127.0.0.1,severity=zz",
           "server=127.0.0.1,severity=", "server=127.0.0.1,severity=warn,severity=info", "server=127.0.0.1,tag=mx",
           "server=127.0.0.1,tag=", f"server=127.0.0.1,tag={'x' * 32}", f"server=127.0.0.1,tag={'x' * 33}",
           "server=127.0.0.1,tag=a-b", "server=127.0.0.1,tag=a_9", "server=127.0.0.1,tag=a,tag=b",
           "server=127.0.0.1,nohostname", "server=127.0.0.1,nohostname,nohostname", "nohostname",
           "server=127.0.0.1,nohostname=1", "server=127.0.0.1,", ",server=127.0.0.1", "Server=127.0.0.1",
           "server=127.0.0.1,,tag=x", "server=127.0.0.1/x", "server=127.0.0.1:99999", "server=:514", "server=*"]

ERROR_LOG = Table(
    main=[
        *(f"error_log x.log{level};" for level in _LEVELS),
        *(f"error_log stderr{level};" for level in _LEVELS[:4]),
        *(f"error_log syslog:{parameters};" for parameters in _SYSLOG),
        "error_log '';", "error_log off;", "error_log a.log; error_log a.log;", "error_log a.log; error_log b.log;",
        "error_log nowhere/x.log;", "error_log directory;", "error_log /nowhere/x.log info;", "error_log {",
        "error_log memory:32k;", "error_log memory:1k;", "error_log memory:;", "error_log memory:x;",
        "error_log memory:32k debug;", "error_log memory:2080;", "error_log memory:2079;", "error_log memory:1g;",
        "error_log syslog;", "error_log SYSLOG:server=127.0.0.1;", "error_log a.log json;",
        "error_log syslog:server=127.0.0.1 foo;", "error_log syslog:foo foo;", "error_log memory:1k foo;",
        "error_log a.log; error_log b.log foo;", "error_log stderr; error_log stderr;",
        "error_log syslog:server=127.0.0.1; error_log syslog:server=127.0.0.2,tag=x info;",
    ],
    mail=["error_log a.log;", "error_log a.log foo;", "error_log nowhere/x.log;", "error_log a.log; error_log b.log;",
          "error_log stderr info;", "error_log syslog:;", "error_log syslog:server=127.0.0.1 warn;"],
    server=["error_log a.log;", "error_log nowhere/x.log;", "error_log a.log info info;", "error_log memory:x;",
            "error_log syslog:server=unix:/tmp/x,tag=mx;", "error_log;"],
)  # fmt: skip

FOREIGN = Table(
    main=["http {", "http { }\nhttp { }", "http;", "http x {}", "stream {}", "stream;", "http { moo ", "http {\n}}",
          "http\n{\nserver {\n}\n", "http { server { ' } }", "mgmt {}", "rtmp {}", "http { } moo;"],
    mail=["http {}", "stream {}", "geo x {}", "types {}", "access_log x;", "proxy_http_version 1.1;"],
)  # fmt: skip

SECTIONS = {"main": MAIN, "events": EVENTS, "error_log": ERROR_LOG, "foreign blocks": FOREIGN}
