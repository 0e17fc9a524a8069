"""The command line (reference 11.1): what is printed where, and the exit code."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess

import pytest
from support.ports import HOST
from support.processes import Site, wait_for

NAMES = ("fastmail", "nginx")


@pytest.fixture(autouse=True)
def configured(site: Site) -> None:
    site.configure()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-x"], 'invalid option: "x"'),
        (["-tx"], 'invalid option: "x"'),
        (["foo"], 'invalid option: "foo"'),
        (["-t", "foo"], 'invalid option: "foo"'),
        (["--frobnicate"], 'invalid option: "--frobnicate"'),
        (["-p"], 'option "-p" requires directory name'),
        (["-c"], 'option "-c" requires file name'),
        (["-tc"], 'option "-c" requires file name'),
        (["-e"], 'option "-e" requires file name'),
        (["-g"], 'option "-g" requires parameter'),
        (["-s"], 'option "-s" requires parameter'),
        (["-s", "foo"], 'invalid option: "-s foo"'),
        (["-sfoo"], 'invalid option: "-s foo"'),
        (["--pid"], 'option "--pid" requires file name'),
        (["--error-log"], 'option "--error-log" requires file name'),
    ],
)
def test_wrong_options(site: Site, name: str, arguments: list[str], message: str) -> None:
    result = site.run(*arguments, name=name)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"{name}: {message}\n")


@pytest.mark.parametrize("option", ["-v", "--version"])
@pytest.mark.parametrize(
    ("name", "version"), [("fastmail", r"fastmail/\d+\.\d+\.\d+"), ("nginx", r"nginx/1\.31\.5")]
)
def test_version(site: Site, name: str, version: str, option: str) -> None:
    result = site.run(option, name=name)
    assert (result.returncode, result.stdout) == (0, "")
    assert re.fullmatch(f"{name} version: {version}\n", result.stderr)


def test_how_it_was_built(site: Site) -> None:
    result = site.run("-V", name="nginx")
    assert (result.returncode, result.stdout) == (0, "")
    lines = result.stderr.splitlines()
    words = ["nginx", "built", "built", "https", "TLS", "configure"]
    assert [line.partition(" ")[0] for line in lines] == words
    assert "--conf-path=/etc/nginx/nginx.conf " in lines[-1]


@pytest.mark.parametrize("option", ["-h", "-?", "--help"])
def test_help_lists_every_option(site: Site, option: str) -> None:
    result = site.run(option)
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr.startswith("fastmail version: ")
    for word in ("-v", "-V", "-t", "-T", "-q", "-s", "-p", "-e", "-c", "-g", "--pid", "--error-log", "demo"):
        assert re.search(rf"^ +.*{word}\b", result.stderr, re.M), word


# -t, -T, -q


@pytest.mark.parametrize("name", NAMES)
def test_good_configuration(site: Site, name: str) -> None:
    result = site.run("-t", name=name)
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == (
        f"{name}: the configuration file {site.configuration} syntax is ok\n"
        f"{name}: configuration file {site.configuration} test is successful\n"
    )
    assert site.pid_file.read_bytes() == b"", "-t creates an empty pid file"
    assert site.log_file.exists(), "-t opens the logs"


def test_version_and_test(site: Site) -> None:
    lines = site.run("-vt").stderr.splitlines()
    assert lines[0].startswith("fastmail version: ")
    assert lines[-1].endswith(" test is successful")


@pytest.mark.parametrize("arguments", [["-tq"], ["-t", "-q"], ["-q", "-t"]])
def test_quiet(site: Site, arguments: list[str]) -> None:
    result = site.run(*arguments)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("arguments", [["-t"], ["-tq"]])
def test_broken_configuration(site: Site, arguments: list[str]) -> None:
    site.configuration.write_text("events {}\nmale {}\n")
    result = site.run(*arguments)
    message = f'unknown directive "male" in {site.configuration}:2'
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"fastmail: [emerg] {message}\nfastmail: configuration file {site.configuration} test failed\n"
    )
    assert re.fullmatch(
        rf"\d{{4}}/\d\d/\d\d \d\d:\d\d:\d\d \[emerg\] \d+#0: {re.escape(message)}\n",
        site.bootstrap_log.read_text(),
    )


def test_missing_configuration(site: Site) -> None:
    result = site.run("-c", "missing.conf", "-t")
    path = site.directory / "missing.conf"
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f'fastmail: [emerg] open() "{path}" failed (2: No such file or directory)',
        f"fastmail: configuration file {path} test failed",
    ]


def test_error_after_parsing(site: Site) -> None:
    site.configure(log="missing/error.log")
    result = site.run("-t")
    path = site.directory / "missing" / "error.log"
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"fastmail: the configuration file {site.configuration} syntax is ok",
        f'fastmail: [emerg] open() "{path}" failed (2: No such file or directory)',
        f"fastmail: configuration file {site.configuration} test failed",
    ]


@pytest.mark.parametrize("value", ["0", "4097k", "5000m"])
@pytest.mark.parametrize("name", ["proxy_buffer", "imap_client_buffer"])
def test_buffer_beyond_the_engine(site: Site, name: str, value: str) -> None:
    site.configure(f"auth_http 127.0.0.1:1; {name} {value}; server {{ listen {HOST}:1; protocol imap; }}")
    result = site.run("-tq")
    assert result.returncode == 1
    problem = f'"{name}" must be from 1 to 4194304 bytes in server in {site.configuration}:'
    assert re.match(rf"fastmail: \[emerg\] {re.escape(problem)}\d+\n", result.stderr)


def test_more_logs_than_the_engine_writes(site: Site) -> None:
    logs = " ".join(f"error_log {number}.log;" for number in range(9))
    site.configure(f"auth_http 127.0.0.1:1; server {{ {logs} listen {HOST}:1; protocol imap; }}")
    result = site.run("-tq")
    assert result.returncode == 1
    problem = f'more than 8 "error_log" directives in server in {site.configuration}:'
    assert re.match(rf"fastmail: \[emerg\] {re.escape(problem)}\d+\n", result.stderr)


@pytest.mark.parametrize("name", ["auth_http_keepalive", "max_errors", "max_commands"])
def test_numbers_may_be_as_large_as_with_nginx(site: Site, name: str) -> None:
    site.configure(
        f"auth_http 127.0.0.1:1; {name} 9223372036854775807; server {{ listen {HOST}:1; protocol imap; }}"
    )
    assert site.run("-tq").stderr == ""


def test_connections_are_held_against_the_limit_that_workers_set(site: Site) -> None:
    own, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    site.configure(main=f"worker_rlimit_nofile {own + 2};", connections=own + 2)
    assert site.run("-tq").stderr == ""
    site.configure(main=f"worker_rlimit_nofile {own + 2};", connections=own + 3)
    assert site.run("-tq").stderr == (
        f"fastmail: [warn] {own + 3} worker_connections exceed open file resource limit: {own + 2}\n"
    )


def test_directory_instead_of_a_file(site: Site) -> None:
    site.configure(main=f"include {site.directory};")
    result = site.run("-tq")
    assert result.returncode == 1
    assert result.stderr.splitlines()[0] == (
        f'fastmail: [crit] pread() "{site.directory}" failed (21: Is a directory)'
    )


def test_address_in_use_does_not_fail_the_test(site: Site) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        site.configure(f"auth_http 127.0.0.1:1; server {{ listen 127.0.0.1:{port}; protocol imap; }}")
        assert site.run("-t").returncode == 0


def test_other_bind_errors_fail_the_test(site: Site) -> None:
    path = site.directory / "missing" / "imap.sock"
    site.configure(f"auth_http 127.0.0.1:1; server {{ listen unix:{path}; protocol imap; }}")
    result = site.run("-t")
    assert result.returncode == 1
    assert f"[emerg] bind() to unix:{path} failed (2: No such file or directory)\n" in result.stderr


def test_the_test_leaves_no_unix_socket(site: Site) -> None:
    path = site.directory / "imap.sock"
    site.configure(f"auth_http 127.0.0.1:1; server {{ listen unix:{path}; protocol imap; }}")
    assert site.run("-t").returncode == 0
    assert not path.exists()


def test_dump(site: Site) -> None:
    extra = site.directory / "extra.conf"
    extra.write_bytes(b"# caf\xe9\nworker_rlimit_nofile 1000;")
    site.configure(main="include extra.conf;")
    result = site.run("-Tq")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "".join(
        f"# configuration file {path}:\n{path.read_text('latin-1')}\n" for path in (site.configuration, extra)
    )


def test_dump_that_cannot_be_written(site: Site) -> None:
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            site.command("-Tq"), stdout=full, stderr=subprocess.PIPE, encoding="utf-8", timeout=30
        )
    assert result.returncode == 1
    assert result.stderr == (
        "fastmail: [emerg] write() to standard output failed (28: No space left on device)\n"
    )


def test_warnings_are_shown_and_logged(site: Site) -> None:
    site.configure(main="http { }")
    result = site.run("-tq")
    assert result.returncode == 0
    assert re.fullmatch(r"fastmail: \[warn\] .*http.*\n", result.stderr)
    assert "[warn]" in site.bootstrap_log.read_text()


# -p, -c, -e, -g


def test_values_can_be_attached_and_relative_to_the_prefix(site: Site) -> None:
    result = site.run(f"-p{site.directory}", "-cmail.conf", "-eother.log", "-gtimer_resolution 1s;", "-tq")
    assert (result.returncode, result.stderr) == (0, "")
    assert (site.directory / "other.log").exists()


def test_default_log_is_that_of_e(site: Site) -> None:
    site.configuration.write_text("pid fastmail.pid; events {}")
    assert site.run("-t", "-e", "mine.log").returncode == 0
    assert (site.directory / "mine.log").exists()


def test_log_on_stderr(site: Site) -> None:
    site.configuration.write_text("nonsense")
    lines = site.run("-t", "-e", "stderr").stderr.splitlines()
    assert re.match(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[emerg\] \d+#0: ", lines[0])
    assert len(lines) == 2


def test_unusable_log_is_said_and_stderr_taken(site: Site) -> None:
    result = site.run("-t", "-e", "missing/boot.log")
    path = site.directory / "missing" / "boot.log"
    assert result.returncode == 0
    assert result.stderr.splitlines()[0] == (
        "fastmail: [alert] could not open error log file: "
        f'open() "{path}" failed (2: No such file or directory)'
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user", 'unexpected end of parameter, expecting ";" in command line'),
        ("events {}", "block directives are not supported in -g option in command line"),
        ("pid other.pid;", '"pid" directive is duplicate in {file}:4'),
        ("nonsense;", 'unknown directive "nonsense" in command line'),
    ],
)
def test_wrong_global_directives(site: Site, text: str, message: str) -> None:
    result = site.run("-tq", "-g", text)
    assert result.returncode == 1
    assert result.stderr.splitlines()[0] == f"fastmail: [emerg] {message.format(file=site.configuration)}"


# -s


def test_signal_without_pid_file(site: Site) -> None:
    result = site.run("-s", "stop")
    assert (result.returncode, result.stdout) == (1, "")
    assert (
        result.stderr == f'fastmail: [error] open() "{site.pid_file}" failed (2: No such file or directory)\n'
    )
    assert site.bootstrap_log.read_text().splitlines()[0].endswith("#0: signal process started")


@pytest.mark.parametrize("text", ["", "\n", "abc\n", "-1\n", "0\n"])
def test_signal_with_an_unusable_pid_file(site: Site, text: str) -> None:
    site.pid_file.write_text(text)
    result = site.run("-s", "stop", name="nginx")
    assert result.returncode == 1
    number = text.rstrip("\n")
    assert result.stderr == f'nginx: [error] invalid PID number "{number}" in "{site.pid_file}"\n'


@pytest.mark.parametrize(("word", "number"), [("stop", 15), ("quit", 3), ("reopen", 10), ("reload", 1)])
def test_signal_to_a_process_that_is_gone(site: Site, word: str, number: int) -> None:
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    site.pid_file.write_text(f"{gone}\n")
    result = site.run("-s", word)
    assert result.returncode == 1
    assert result.stderr == f"fastmail: [alert] kill({gone}, {number}) failed (3: No such process)\n"


def test_signal_with_a_broken_configuration(site: Site) -> None:
    site.configuration.write_text("nonsense")
    result = site.run("-s", "stop")
    assert result.returncode == 1
    assert result.stderr.startswith("fastmail: [emerg] unexpected end of file")


# --pid, --error-log


def test_long_options_override_the_configuration(site: Site) -> None:
    site.configure(main="", log="/missing/of-nginx.log info")
    own = ["--pid", "own.pid", f"--error-log={site.log_file}"]
    nginx_pid_file, site.pid_file = site.pid_file, site.directory / "own.pid"
    master = site.start_daemon(*own)
    assert not nginx_pid_file.exists()
    site.wait_log(rf"{master}#0: start worker process ")
    assert site.run("-s", "stop", *own).returncode == 0
    site.wait_log(rf"{master}#0: exit$")
    assert not site.pid_file.exists()


def test_interrupted_while_starting(site: Site) -> None:
    """Ctrl-C ends us as any program, without a word: here while a pipe is read that nobody writes to."""
    fifo = site.directory / "fifo"
    os.mkfifo(fifo)
    site.configure(main=f"include {fifo};")
    # Tests that run in the background of a shell ignore the signal, and so would what they start.
    command = ["env", "--default-signal=INT", *site.command("-t")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        writers: list[int] = []

        def opened() -> bool:
            with contextlib.suppress(OSError):  # nobody reads yet
                writers.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
            return bool(writers)

        wait_for("the reading of the pipe", opened)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
        os.close(writers[0])
    assert (process.returncode, output) == (-signal.SIGINT, b"")


def test_start_with_an_address_in_use(site: Site) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        site.configure(f"auth_http 127.0.0.1:1; server {{ listen 127.0.0.1:{port}; protocol imap; }}")
        result = site.run()
    line = f"[emerg] bind() to 127.0.0.1:{port} failed (98: Address already in use)"
    assert result.returncode == 1
    assert result.stderr.splitlines() == [f"fastmail: {line}"] * 5 + [
        "fastmail: [emerg] still could not bind()"
    ]
    assert site.messages() == [line, "[notice] try again to bind() after 500ms"] * 5 + [
        "[emerg] still could not bind()"
    ]
    assert not site.pid_file.exists()


def test_pid_file_that_cannot_be_written(site: Site) -> None:
    site.configuration.write_text("daemon off; error_log error.log; pid missing/x.pid; events {}")
    result = site.run()
    path = site.directory / "missing" / "x.pid"
    assert result.returncode == 1
    assert result.stderr == f'fastmail: [emerg] open() "{path}" failed (2: No such file or directory)\n'
