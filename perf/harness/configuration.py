"""The text that nginx and fastmail are configured with, and that of nginx as auth server."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .machine import run_tool

CERTIFICATES = {"ecdsa": ("ec", "ec_paramgen_curve:P-256"), "rsa": ("rsa", "rsa_keygen_bits:2048")}
PROTOCOLS = ("imap", "pop3", "smtp")
SERVER_NAMES = ("mail.example.com", "renewed.example.com")  # SMTP greets with it: before and after a reload


@dataclass(frozen=True)
class ServerBlock:
    """A ``server {}``. ``additions`` are fastmail's own lines of it."""

    name: str
    protocol: str
    lines: tuple[str, ...] = ()
    additions: tuple[str, ...] = ()


def server_blocks(directory: Path, thinking_auth: int) -> list[ServerBlock]:
    """Each protocol, IMAP with each certificate, POP3 pipelined, and each protocol with peers that think."""
    think = f"auth_http 127.0.0.1:{thinking_auth}/auth;"
    found = [ServerBlock(protocol, protocol) for protocol in PROTOCOLS]
    for kind in CERTIFICATES:
        found.append(
            ServerBlock(kind, "imap", (
                "ssl_protocols TLSv1.2 TLSv1.3;",
                f"ssl_certificate {directory}/{kind}.crt;",
                f"ssl_certificate_key {directory}/{kind}.key;",
            ))
        )  # fmt: skip
    pipelining = ("proxy_pipelining on;",)
    found.append(ServerBlock("pop3-pipelining", "pop3", additions=pipelining))
    extras = {
        "imap": ((think,), ()),
        "pop3": ((think,), pipelining),
        "smtp": ((think, "proxy_smtp_auth on;"), ()),
    }
    for protocol, (lines, additions) in extras.items():
        found.append(ServerBlock(f"{protocol}-thinking", protocol, lines, additions))
        additions = (*additions, "proxy_preconnect on;")
        found.append(ServerBlock(f"{protocol}-preconnect", protocol, lines, additions))
    return [*found, ServerBlock("envelope-thinking", "smtp", (think, "smtp_auth none;"))]


def make_certificates(directory: Path) -> None:
    """A self-signed one of each kind."""
    for kind, (algorithm, option) in CERTIFICATES.items():
        run_tool(
            "openssl", "req", "-x509", "-nodes", "-newkey", algorithm, "-pkeyopt", option, "-days", "2",
            "-keyout", f"{directory}/{kind}.key", "-out", f"{directory}/{kind}.crt", "-subj", "/CN=mail",
        )  # fmt: skip


@dataclass(frozen=True)
class Main:
    """The main context. ``affinity`` are masks of worker_cpu_affinity, one for each worker; empty: none."""

    user: str | None
    log_level: str
    module: Path | None = None
    workers: int = 1
    affinity: Sequence[str] = ()

    def text(self, name: str) -> str:
        lines = [f"load_module {self.module};"] if self.module else []
        lines += ["daemon off;", f"worker_processes {self.workers};"]
        if self.affinity:
            lines.append(f"worker_cpu_affinity {' '.join(self.affinity)};")
        if self.user:
            lines.append(f"user {self.user};")
        lines += [f"pid {name}.pid;", f"error_log logs/error.log {self.log_level};"]
        return "\n".join([*lines, "events {", "    worker_connections 20000;", "}\n"])


def mail(
    ports: dict[str, int], blocks: Sequence[ServerBlock], auth: int, extra: Sequence[str], additions: bool
) -> str:
    """The mail block: ``extra`` are lines of it; ``additions``: server blocks have theirs."""
    lines = [f"    server_name {SERVER_NAMES[0]};", f"    auth_http 127.0.0.1:{auth}/auth;"]
    lines += [f"    {line}" for line in extra]
    for block in blocks:
        tls = " ssl" if any(line.startswith("ssl_certificate ") for line in block.lines) else ""
        lines += [
            "    server {",
            f"        listen 127.0.0.1:{ports[block.name]}{tls};",
            f"        protocol {block.protocol};",
            *(f"        {line}" for line in (*block.lines, *(block.additions if additions else ()))),
            "    }",
        ]
    return "\n".join(["mail {", *lines, "}\n"])


def auth_server(port: int, backends: dict[str, int]) -> str:
    """nginx's http as an auth server that lets everybody in and keeps connections open."""
    routes = "".join(f"        {name} {backend};\n" for name, backend in backends.items())
    return _AUTH.format(map=routes, port=port)


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
