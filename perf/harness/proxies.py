"""nginx and fastmail as the same thing: a master with one pinned worker, and its configuration."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .machine import ROOT, VENV_PYTHON, Nginx, Ports
from .measure import MeasurementError, alive, children

START = 15.0  # seconds that a proxy may take to its first greeting
STOP = 10.0  # and to its end

_MAIN = """\
{modules}daemon off;
worker_processes 1;
{user}pid {name}.pid;
error_log logs/error.log {level};
events {{
    worker_connections 20000;
}}
"""

_MAIL = """\
mail {{
    server_name mail.example.com;
    auth_http 127.0.0.1:{auth}/auth;
{extra}{servers}}}
"""

_SERVER = """\
    server {{
        listen 127.0.0.1:{port};
        protocol {protocol};
    }}
"""

_TLS_SERVER = """\
    server {{
        listen 127.0.0.1:{port} ssl;
        protocol {protocol};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate {directory}/{kind}.crt;
        ssl_certificate_key {directory}/{kind}.key;
    }}
"""

CERTIFICATES = {"ecdsa": ("ec", "ec_paramgen_curve:P-256"), "rsa": ("rsa", "rsa_keygen_bits:2048")}


def make_certificates(directory: Path) -> None:
    """A self-signed one of each kind."""
    for kind, (algorithm, option) in CERTIFICATES.items():
        subprocess.run(
            ["openssl", "req", "-x509", "-nodes", "-newkey", algorithm, "-pkeyopt", option, "-days", "2",
             "-keyout", directory / f"{kind}.key", "-out", directory / f"{kind}.crt", "-subj", "/CN=mail"],
            check=True, capture_output=True,
        )  # fmt: skip


_AUTH = """\
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    client_body_temp_path temp;
    proxy_temp_path temp;
    fastcgi_temp_path temp;
    uwsgi_temp_path temp;
    scgi_temp_path temp;
    map $http_auth_protocol $backend_port {{
{map}    }}
    server {{
        listen 127.0.0.1:{port};
        location /auth {{
            add_header Auth-Status OK;
            add_header Auth-Server 127.0.0.1;
            add_header Auth-Port $backend_port;
            return 200 "";
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Variant:
    """A proxy to be measured: what runs, and what differs in its configuration."""

    name: str
    command: tuple[str, ...]
    module: Path | None = None
    extra: Sequence[str] = ()  # mail directives that only this one has
    environment: Mapping[str, str] = field(default_factory=dict)
    baseline: bool = False  # others are compared with it
    auth_only: bool = False  # differs in how it asks the auth server: only logins need it


def nginx_variant(nginx: Nginx, name: str, baseline: bool = True) -> Variant:
    return Variant(name, (str(nginx.binary), "-e", "stderr"), nginx.mail_module, baseline=baseline)


def fastmail_variant(engine: str, keepalive: int) -> Variant:
    """``engine`` is "thread" (the default arrangement of the loops) or "nested"."""
    name = f"fastmail, keep-alive {keepalive}" + (f", {engine}" if engine != "thread" else "")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return Variant(
        name,
        (str(VENV_PYTHON), "-m", "fastmail"),
        extra=(f"auth_http_keepalive {keepalive};",),
        environment={"PYTHONPATH": path} | ({} if engine == "thread" else {"FASTMAIL_ENGINE": engine}),
        auth_only=keepalive == 0,
    )


class Server:
    """A started master process in a directory of its own; stop() ends it."""

    def __init__(
        self, name: str, directory: Path, command: Sequence[str], configuration: str,
        port: int, environment: Mapping[str, str], core: int,
    ) -> None:  # fmt: skip
        self.name = name
        self.directory = directory
        (directory / "logs").mkdir(parents=True)
        (directory / "server.conf").write_text(configuration)
        with open(directory / "output", "wb") as output:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *command, "-p", f"{directory}/", "-c", "server.conf"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **environment},
            )  # fmt: skip
        try:
            self._await_port(port)
            self.worker = self._find_worker()
        except BaseException:
            self.stop()
            raise

    def _await_port(self, port: int) -> None:
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise MeasurementError(f"{self.name} did not start:\n{self.words()}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise MeasurementError(f"{self.name} does not listen after {START:.0f} s:\n{self.words()}")

    def _find_worker(self) -> int:
        deadline = time.monotonic() + START
        found: list[int] = []
        while len(found) != 1:  # nothing else is expected: one worker, no helpers
            if time.monotonic() > deadline:
                raise MeasurementError(f"{self.name} has {len(found)} child processes instead of one worker")
            time.sleep(0.02)
            found = children(self._process.pid)
        return found[0]

    def check(self) -> None:
        """Raises MeasurementError when the worker is not the one that was started."""
        if self._process.poll() is not None or not alive(self.worker):
            raise MeasurementError(f"{self.name}: the worker has died:\n{self.words()}")

    def words(self) -> str:
        """The end of what it wrote to its log and its standard output."""
        texts = []
        for path in (self.directory / "logs" / "error.log", self.directory / "output"):
            if path.exists():
                texts += path.read_text(errors="replace").splitlines()[-10:]
        return "\n".join(texts) or "(it wrote nothing)"

    def errors(self) -> list[str]:
        """The lines of its error log."""
        path = self.directory / "logs" / "error.log"
        return path.read_text(errors="replace").splitlines() if path.exists() else []

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            orphans = children(self._process.pid)
            self._process.kill()
            self._process.wait()
            for orphan in orphans:
                os.kill(orphan, signal.SIGKILL)


@dataclass
class Stage:
    """Everything that the proxies of one run share, and the way to start one."""

    directory: Path
    ports: Ports
    backends: dict[str, int]  # protocol -> port
    auth_port: int
    proxy_core: int
    load_core: int
    user: str | None
    log_level: str
    started: int = 0

    def _main(self, name: str, module: Path | None) -> str:
        return _MAIN.format(
            name=name,
            modules=f"load_module {module};\n" if module else "",
            user=f"user {self.user};\n" if self.user else "",
            level=self.log_level,
        )

    def start(self, variant: Variant) -> "Proxy":
        ports = {protocol: self.ports.take() for protocol in self.backends}
        servers = "".join(_SERVER.format(port=port, protocol=name) for name, port in ports.items())
        first = next(iter(ports))
        for kind in CERTIFICATES:
            ports[kind] = self.ports.take()
            servers += _TLS_SERVER.format(
                port=ports[kind], protocol=first, kind=kind, directory=self.directory
            )
        extra = "".join(f"    {line}\n" for line in variant.extra)
        text = self._main("proxy", variant.module)
        text += _MAIL.format(auth=self.auth_port, extra=extra, servers=servers)
        port = ports[next(iter(ports))]
        server = self._start(variant.name, variant.command, text, port, variant.environment, self.proxy_core)
        return Proxy(variant, ports, server)

    def start_auth(self, nginx: Nginx) -> Server:
        """nginx's own http as auth server, on the core of the load."""
        routes = "".join(f"        {name} {port};\n" for name, port in self.backends.items())
        text = self._main("auth", None) + _AUTH.format(map=routes, port=self.auth_port)
        command = (str(nginx.binary), "-e", "stderr")
        return self._start("the auth server", command, text, self.auth_port, {}, self.load_core)

    def _start(
        self, name: str, command: Sequence[str], text: str,
        port: int, environment: Mapping[str, str], core: int,
    ) -> Server:  # fmt: skip
        self.started += 1
        return Server(name, self.directory / str(self.started), command, text, port, environment, core)


@dataclass
class Proxy:
    """A running variant and where it listens: by protocol, and by CERTIFICATES the first one over TLS."""

    variant: Variant
    ports: dict[str, int]
    server: Server

    @property
    def name(self) -> str:
        return self.variant.name

    @property
    def worker(self) -> int:
        return self.server.worker
