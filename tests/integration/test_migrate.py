"""``fastmail migrate``: its report, and its commands carried out with a real nginx.

What happens in the machine is in inside_migrate.py.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import machine
from support.authserver import AuthServer, answer
from support.installation import PROGRAM, installation
from support.pki import PKI
from support.ports import reserve
from support.processes import ROOT

MAIL = """\
mail {
    auth_http 127.0.0.1:9000/auth;
    server { listen 127.0.0.1:143; protocol imap; }
}
"""
DEBIAN = Path("/etc/nginx/nginx.conf")


def migrate(*arguments: str | Path, stdout: int = subprocess.PIPE) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "fastmail", "migrate", *map(str, arguments)],
        stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=30,
    )  # fmt: skip


def report(*arguments: str | Path) -> dict[str, list[str]]:
    """What it says, by its titles; without indentation."""
    done = migrate(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    sections: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if line and not line.startswith(" "):
            lines = sections[line] = []
        elif line:
            lines.append(line.strip())
    return sections


def test_debians_own_file_and_mail(tmp_path: Path) -> None:
    conf = tmp_path / "nginx.conf"
    text = DEBIAN.read_text()
    conf.write_text(text + MAIL)
    first = len(text.splitlines()) + 1
    http = next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith("http {"))
    said = report(conf)
    assert said["Served"] == [
        f"imap  127.0.0.1:143  not encrypted  asks http://127.0.0.1:9000/auth  {conf}:{first + 2}"
    ]
    assert "load_module modules/ngx_mail_module.so;" in " ".join(said["Ignored"])
    assert said["Ignored"][-2:] == [f"http {{}}  {conf}:{http}", "not for a mail proxy; leave it to nginx"]
    assert any(line.startswith("- Blocks of other modules") for line in said["Different"])
    assert "nginx keeps http {}." in said["Note"]


def test_an_example_of_mailu() -> None:
    conf = ROOT / "docs/examples/mailu/nginx.conf"
    said = report(conf)
    assert said["Served"] == [
        "smtp  127.0.0.1:10025  not encrypted, behind PROXY headers  "
        f"asks http://127.0.0.1:8000/auth/email  {conf}:20"
    ]
    assert said["Ignored"] == [
        f"load_module /usr/lib/nginx/modules/ngx_mail_module.so;  {conf}:8",
        "Modules of nginx are not loaded.",
    ]
    different = "\n".join(said["Different"])
    assert "A PROXY header may come in pieces." in different
    assert "IMAP logins" not in different
    assert "Before (what is served does not change)" not in said


def test_tls(tmp_path: Path) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    conf = tmp_path / "nginx.conf"
    conf.write_text(
        "events { }\nmail {\n auth_http unix:/run/auth:/auth;\n"
        " ssl_certificate cert.pem; ssl_certificate_key key.pem;\n"
        " server { listen 993 ssl; listen [::1]:143; starttls only; }\n}\n"
    )
    said = report(conf)
    assert said["Served"] == [
        f"imap  0.0.0.0:993  TLS                asks unix:/run/auth:/auth  {conf}:5",
        f"imap  [::1]:143    STARTTLS required  asks unix:/run/auth:/auth  {conf}:5",
    ]
    assert "Renewed certificates are taken without a reload" in "\n".join(said["Different"])


LOG = "error_log /var/log/mail.log info;\n"
ADVICE = {
    "nothing": ("", "", []),
    "no log": (None, "", ['There is no "error_log" in the main context']),
    "a variable": (
        "",
        "auth_http_header X-Host $host;",
        ['"auth_http_header X-Host $host" is sent as it stands'],
    ),
    "both": (None, "auth_http_header X-Host $host;", ['"auth_http_header X-Host', "There is no"]),
    "a dollar": ("", "auth_http_header X-Price 5$;", []),
    "old protocols": (
        "",
        "starttls on; ssl_protocols TLSv1 TLSv1.2;",
        ['"ssl_protocols" names TLSv1, which'],
    ),
    "without TLS": ("", "ssl_protocols TLSv1;", []),
    "spoken": ("", "starttls on; ssl_protocols TLSv1.1; ssl_ciphers DEFAULT@SECLEVEL=0;", []),
}


@pytest.mark.parametrize(("log", "directives", "advice"), ADVICE.values(), ids=ADVICE)
def test_verdict(tmp_path: Path, pki: PKI, log: str | None, directives: str, advice: list[str]) -> None:
    """What needs the operator comes first."""
    conf = tmp_path / "nginx.conf"
    files = f"ssl_certificate {pki.server.certificate}; ssl_certificate_key {pki.server.key};"
    mail = MAIL.replace("mail {", f"mail {{ {files if 'ssl' in directives else ''} {directives}")
    conf.write_text(f"{'' if log is None else LOG}events {{ }}\n{mail}")
    said = report(conf)
    assert next(iter(said)) == "Verdict"
    first, *items = said["Verdict"]
    count = "1 thing needs you:" if len(advice) == 1 else f"{len(advice)} things need you:"
    assert first == (count if advice else "Nothing here needs a change.")
    found = [item for item in items if item.startswith("- ")]
    assert len(found) == len(advice)
    assert all(item.startswith(f"- {text}") for item, text in zip(found, advice, strict=True))


def test_auth_server_with_addresses_of_two_families(tmp_path: Path) -> None:
    conf = tmp_path / "nginx.conf"
    conf.write_text(f"{LOG}events {{ }}\n" + MAIL.replace("127.0.0.1:9000", "localhost:9000"))
    families = {found[0] for found in socket.getaddrinfo("localhost", None)}
    told = '- "auth_http" names localhost' in " ".join(report(conf)["Verdict"])
    assert told == (len(families) > 1)


def test_nothing_to_serve() -> None:
    said = report(DEBIAN)
    assert said["Served"] == ["nothing: there is no server in a mail block, and nothing to switch over"]
    assert list(said) == ["Served", "Ignored"]


def test_mail_block_among_others(tmp_path: Path) -> None:
    """Nobody's file is cut where lines do not show how."""
    conf = tmp_path / "nginx.conf"
    conf.write_text("events { } http { } " + MAIL)
    said = report(conf)
    assert f"which begins at {conf}:1 and has no lines of its own" in said["Before"][0]
    assert "Switch over" not in said


@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_would_be_overwritten_is_named(tmp_path: Path, there: bool) -> None:
    conf, own = tmp_path / "nginx.conf", tmp_path / "fastmail.conf"
    conf.write_text("events { }\nhttp { }\n" + MAIL)
    if there:
        own.write_text("# the operator's\n")
    note = f"{own} is there already: the first command writes it anew."
    assert (note in report(conf)["Note"]) == there


def test_keepalive_for_a_server_that_can(tmp_path: Path) -> None:
    """Asked, the auth server keeps connections: fastmail's file gets the directive, nginx's doesn't. The
    server is told a login that nobody has, from an address that nobody has, and who asks."""
    conf = tmp_path / "nginx.conf"
    kept = answer("no", "Connection: keep-alive", "Content-Length: 0")
    with AuthServer(lambda request: (kept,)) as auth:
        mail = MAIL.replace("9000", str(auth.port)).replace("mail {", "mail {\n    auth_http_header X-Key k;")
        conf.write_text(f"events {{ }}\nhttp {{ }}\n{mail}")
        assert any("with --probe-auth" in line for line in report(conf)["Auth servers"])
        assert auth.requests == []
        said = report("--probe-auth", conf)
    assert len(auth.requests) == 2
    for request in auth.requests:
        assert request.headers["auth-user"] == "probe@fastmail.invalid"
        assert request.headers["client-ip"] == "192.0.2.1"
        assert request.headers["user-agent"] == "fastmail migrate --probe-auth"
        assert request.headers["x-key"] == "k"
    assert " ".join(said["Auth servers"]).endswith("write for fastmail has auth_http_keepalive 4;")
    subprocess.run(said["Before (what is served does not change)"][0], shell=True, check=True, cwd=tmp_path)
    assert "mail { auth_http_keepalive 4;\n" in (tmp_path / "fastmail.conf").read_text()
    assert "keepalive" not in conf.read_text()


def test_auth_server_that_cannot_be_asked(tmp_path: Path) -> None:
    conf = tmp_path / "nginx.conf"
    conf.write_text("events { }\n" + MAIL.replace("9000", str(reserve())))
    said = " ".join(report("--probe-auth", conf)["Auth servers"])
    assert "could not be asked: Connection refused" in said
    assert "auth_http_keepalive 4" not in said


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nonsense;\n", 'unknown directive "nonsense" in {conf}:1'),
        ("events { }\nmail { server { listen 143; } }\n", 'no "auth_http" is defined for server in {conf}:2'),
        (MAIL, 'no "events" section in configuration'),
        (None, 'open() "{conf}" failed (2: No such file or directory)'),
    ],
)  # fmt: skip
def test_broken_file(tmp_path: Path, text: str | None, problem: str) -> None:
    """nginx's message on one line, and no report."""
    conf = tmp_path / "nginx.conf"
    if text is not None:
        conf.write_text(text)
    done = migrate(conf)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"fastmail migrate: [emerg] {problem.format(conf=conf)}\n"


def test_current_directory_that_is_gone(tmp_path: Path) -> None:
    command = f"mkdir gone; cd gone; rmdir ../gone; exec {sys.executable} -m fastmail migrate nginx.conf"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if not line.startswith("sh: ")]
    assert said == ["fastmail migrate: [emerg] getcwd() failed (2: No such file or directory)"]


def test_pid_of_another_process(tmp_path: Path) -> None:
    """nginx was killed and left its pid file, and the number has been given again: nobody is stopped."""
    conf, pid = tmp_path / "nginx.conf", tmp_path / "nginx.pid"
    conf.write_text(f"pid {pid};\nevents {{ }}\n{MAIL}")
    pid.write_text(f"{os.getpid()}\n")
    said = report(conf)
    assert f"nginx does not run: there is no process of it in {pid}." in said["Note"]
    assert "quit" not in said["Switch over"][0]


def test_pid_file_that_may_not_be_read(tmp_path: Path) -> None:
    conf, pid = tmp_path / "nginx.conf", tmp_path / "nginx.pid"
    conf.write_text(f"pid {pid};\nevents {{ }}\n{MAIL}")
    pid.touch(0)
    command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", sys.executable, "-m", "fastmail"]
    done = subprocess.run(
        [*command, "migrate", conf], capture_output=True, text=True, timeout=30,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f'fastmail migrate: [emerg] open() "{pid}" failed (13: Permission denied)\n'


def test_wrong_option() -> None:
    done = migrate("--nonsense")
    assert done.returncode == 2
    assert done.stderr.endswith("fastmail migrate: error: unrecognized arguments: --nonsense\n")


def test_output_that_cannot_be_written() -> None:
    with open("/dev/full", "wb") as full:
        done = migrate(DEBIAN, stdout=full.fileno())
    assert done.returncode == 1
    assert done.stderr == "fastmail migrate: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize("name", ["mail_only", "beside_http", "mail_in_a_file_of_its_own"])
def test_commands(name: str) -> None:
    files = {PROGRAM: installation()[PROGRAM]}
    machine.run(f"tests/integration/inside_migrate.py::test_{name}", files, systemd=False)


@pytest.mark.parametrize("name", ["units", "units_beside_http", "units_and_a_socket"])
def test_commands_for_units(name: str) -> None:
    machine.run(f"tests/integration/inside_migrate.py::test_{name}", installation())
