"""``auth_http_keepalive`` with the servers that people have, each with fewer processes than we may keep
connections: everybody logs in, and nobody as somebody else."""

import glob
import os
import re
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.listener import PATIENCE
from support.ports import listening, reserve
from support.processes import ROOT, Site, wait_for

BLOCKS = 4  # server blocks, each of which keeps connections of its own in each worker
WORKERS = 4
KEPT = 4
PROCESSES = 2  # of the auth server
CLIENTS = 12  # at once
LOGINS = 20  # of each


class Mailbox(socketserver.ThreadingTCPServer):
    """An IMAP backend whose reply to LOGIN is who has logged in."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"* OK hello\r\n")
            tag, _, user, _ = self.rfile.readline().split()
            self.wfile.write(b"%s OK %s\r\n" % (tag, user.strip(b'"')))
            self.rfile.read()

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), self.Handler)


# Each answers with the user that it was asked for.

WSGI = """
def app(environ, start_response):
    user = environ["HTTP_AUTH_USER"]
    start_response("200 OK", [("Auth-Status", "OK"), ("Auth-Server", "127.0.0.1"), ("Auth-Port", "{port}"),
                              ("Auth-User", user), ("Content-Length", "0")])
    return [b""]
"""
FLASK = """
from flask import Flask, Response, request
app = Flask(__name__)

@app.get("/auth")
def auth():
    return Response(headers={{"Auth-Status": "OK", "Auth-Server": "127.0.0.1", "Auth-Port": "{port}",
                              "Auth-User": request.headers["Auth-User"]}})
"""
FASTAPI = """
from fastapi import FastAPI, Request, Response
app = FastAPI()

@app.get("/auth")
async def auth(request: Request) -> Response:
    return Response(headers={{"Auth-Status": "OK", "Auth-Server": "127.0.0.1", "Auth-Port": "{port}",
                              "Auth-User": request.headers["Auth-User"]}})
"""
NODE = """
const backend = {{"Auth-Status": "OK", "Auth-Server": "127.0.0.1", "Auth-Port": "{port}"}}
const headers = user => ({{...backend, "Auth-User": user}})
require("http").createServer((request, response) => {{
    const user = request.headers["auth-user"]
    request.socket.requests = (request.socket.requests || 0) + 1
    if (process.argv[3] == "closes" && request.socket.requests == 3) return request.socket.destroy()
    if (process.argv[3] == "twice" && request.socket.requests == 2) {{
        const lines = Object.entries({{...headers(user), "Content-Length": 0}}).map(line => line.join(": "))
        const answer = ["HTTP/1.1 200 OK", ...lines, "", ""].join("\\r\\n")
        return request.socket.write(answer + answer)
    }}
    response.writeHead(200, headers(user))
    response.end()
}}).listen(process.argv[2], "127.0.0.1")
"""
PHP = """<?php
header("Auth-Status: OK");
header("Auth-Server: 127.0.0.1");
header("Auth-Port: {port}");
header("Auth-User: " . $_SERVER["HTTP_AUTH_USER"]);
"""
CGI = """#!/bin/sh
printf '%s\\r\\n' 'Auth-Status: OK' 'Auth-Server: 127.0.0.1' 'Auth-Port: {port}' \\
    "Auth-User: $HTTP_AUTH_USER" ''
"""
FPM = """[global]
error_log = {directory}/fpm.log
daemonize = no
[www]
{user}
listen = {directory}/php.sock
listen.mode = 0666
pm = static
pm.max_children = {processes}
"""
NGINX = """daemon off; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
events {{ }}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{listen};
        location = /auth {{
            fastcgi_pass unix:{directory}/php.sock;
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME {directory}/auth.php;
        }}
    }}
}}
"""
APACHE = """ServerRoot {directory}
ServerName auth.test
PidFile {directory}/apache.pid
ErrorLog {directory}/apache.log
DefaultRuntimeDir {directory}
{user}
Listen 127.0.0.1:{listen}
LoadModule mpm_prefork_module /usr/lib/apache2/modules/mod_mpm_prefork.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
ServerLimit {processes}
StartServers {processes}
MaxRequestWorkers {processes}
KeepAlive On
KeepAliveTimeout 300
MaxKeepAliveRequests 0
DocumentRoot {directory}
Header set Auth-Status OK
Header set Auth-Server 127.0.0.1
Header set Auth-Port {port}
Header set Auth-User "expr=%{{req:Auth-User}}"
"""
LIGHTTPD = """server.modules = ("mod_alias", "mod_cgi")
server.bind = "127.0.0.1"
server.port = {listen}
server.document-root = "{directory}"
alias.url = ("/auth" => "{directory}/auth.cgi")
cgi.assign = (".cgi" => "")
"""


class Server:
    """Programs started in a directory, the last of which is the auth server; ``port`` is where it listens."""

    def __init__(self, directory: Path, mailbox: int) -> None:
        self.directory = directory
        self.port = reserve()
        root = os.geteuid() == 0
        self._fields = {"directory": directory, "port": mailbox, "listen": self.port, "processes": PROCESSES}
        self._fields["user"] = ""
        self._root = root
        self._children: list[subprocess.Popen[bytes]] = []

    def write(self, name: str, text: str, **fields: Any) -> None:
        (self.directory / name).write_text(text.format(**(self._fields | fields)))
        (self.directory / name).chmod(0o755)

    def user(self, text: str) -> dict[str, str]:
        """The lines that make a server give up root, if it is that."""
        return {"user": text if self._root else ""}

    def run(self, *command: str) -> None:
        with (self.directory / "output").open("ab") as output:
            child = subprocess.Popen(
                command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(self.directory)},
                start_new_session=True,  # Apache ends its process group
            )  # fmt: skip
        self._children.append(child)

    def close(self) -> None:
        for child in reversed(self._children):
            child.terminate()
            child.wait(20)


def php(server: Server) -> None:
    server.write("auth.php", PHP)
    server.write("fpm.conf", FPM, **server.user("user = nobody\ngroup = nogroup"))
    server.write("nginx.conf", NGINX)
    (program,) = glob.glob("/usr/sbin/php-fpm?*")
    server.run(program, "-y", "fpm.conf")
    wait_for("php-fpm", (server.directory / "php.sock").exists)
    server.run("/usr/sbin/nginx", "-e", "stderr", "-p", str(server.directory), "-c", "nginx.conf")


def apache(server: Server) -> None:
    server.write("apache.conf", APACHE, **server.user("User nobody\nGroup nogroup"))
    (server.directory / "auth").touch()
    server.run("/usr/sbin/apache2", "-f", f"{server.directory}/apache.conf", "-DFOREGROUND")


def gunicorn(server: Server) -> None:
    server.write("app.py", WSGI)
    bind = f"127.0.0.1:{server.port}"
    server.run(sys.executable, "-m", "gunicorn", "--workers", str(PROCESSES), "--bind", bind, "app:app")


def uvicorn(server: Server) -> None:
    server.write("app.py", FASTAPI)
    server.run(sys.executable, "-m", "uvicorn", "--port", str(server.port), "--log-level", "error", "app:app")


def flask(server: Server) -> None:
    server.write("app.py", FLASK)
    server.run(sys.executable, "-m", "flask", "--app", "app", "run", "--port", str(server.port))


def node(server: Server, *how: str) -> None:
    server.write("auth.js", NODE)
    server.run("node", "auth.js", str(server.port), *how)


def closes(server: Server) -> None:
    """Every third request on a connection meets its end."""
    node(server, "closes")


def twice(server: Server) -> None:
    """The second request on a connection is answered twice."""
    node(server, "twice")


def cgi(server: Server) -> None:
    server.write("auth.cgi", CGI)
    server.write("lighttpd.conf", LIGHTTPD)
    server.run("/usr/sbin/lighttpd", "-D", "-f", "lighttpd.conf")


KEEPING = {php: True, apache: True, gunicorn: False, uvicorn: True, flask: False, node: True, closes: True,
           twice: False, cgi: True}  # fmt: skip


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as mailbox:
        thread = threading.Thread(target=mailbox.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield mailbox
        mailbox.shutdown()
        thread.join()


@pytest.fixture(params=KEEPING, ids=lambda start: start.__name__)
def server(request: pytest.FixtureRequest, site: Site, mailbox: Mailbox) -> Iterator[Server]:
    """Each in turn, ready to be asked. Its files are where workers of another user can read them."""
    directory = site.directory / "auth"
    directory.mkdir(mode=0o755)
    server = Server(directory, mailbox.server_address[1])
    try:
        request.param(server)
        wait_for("the auth server", lambda: listening(server.port))
        yield server
    finally:
        server.close()


def log_in(port: int, user: str) -> str:
    """Whose mailbox it is that the user gets."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client, client.makefile("rb") as lines:
        lines.readline()
        client.sendall(f"a LOGIN {user} secret\r\n".encode())
        return lines.readline().decode().rstrip().removeprefix("a OK ")


def configure(site: Site, server: Server, directives: str = f"auth_http_keepalive {KEPT};") -> list[int]:
    """The ports of server blocks that ask it."""
    ports = [reserve() for _ in range(BLOCKS)]
    site.configure(
        f"auth_http 127.0.0.1:{server.port}/auth; {directives}\n"
        + "".join(f"server {{ listen 127.0.0.1:{port}; protocol imap; }}\n" for port in ports),
        workers=WORKERS,
    )
    return ports


def test_everybody_logs_in(site: Site, server: Server) -> None:
    """Apache would keep an idle connection for longer than a login may take."""
    ports = configure(site, server)
    site.start()

    def client(number: int) -> list[tuple[str, str]]:
        users = [f"user-{number}-{login}" for login in range(LOGINS)]
        return [(user, log_in(ports[(number + index) % BLOCKS], user)) for index, user in enumerate(users)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        found = [pair for pairs in pool.map(client, range(CLIENTS)) for pair in pairs]
    said = [line for line in site.log() if re.search(r"\[(error|crit|alert)\]", line)]
    assert [line for line in said if "sent data that was not asked for" not in line] == []
    assert [(user, got) for user, got in found if user != got] == []
    assert len(found) == CLIENTS * LOGINS


def test_migrate_finds_out(site: Site, server: Server, request: pytest.FixtureRequest) -> None:
    """``--probe-auth`` tells those that keep connections from those that don't."""
    configure(site, server, "")
    keeps = KEEPING[request.node.callspec.params["server"]]
    done = subprocess.run(
        [sys.executable, "-m", "fastmail", "migrate", "--probe-auth", str(site.configuration)],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ("auth_http_keepalive 4;" in done.stdout) == keeps, done.stdout
    assert f"127.0.0.1:{server.port}/auth: asked " in done.stdout
