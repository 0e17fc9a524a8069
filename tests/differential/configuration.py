"""A configuration file that nginx and fastmail are both asked to test (``-t``), and what each says of it."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import configurations_tls
from reference import NGINX

ROOT = Path(__file__).parents[2]
MODULE = "/usr/lib/nginx/modules/ngx_mail_module.so"

FIRST_LINE = f"load_module {MODULE}; pid n.pid;\n"
AROUND = {
    "whole": "{}",
    "main": FIRST_LINE + "events {{}}\n{}\n",
    "main alone": FIRST_LINE + "{}\n",
    "events": FIRST_LINE + "events {{\n{}\n}}\n",
    "mail": FIRST_LINE + "events {{}}\nmail {{\n{}\n}}\n",
    "server": FIRST_LINE + "events {{}}\nmail {{\nauth_http 127.0.0.1:9/;\nserver {{\n"
    "listen 127.0.0.1:14310; protocol imap;\n{}\n}}\n}}\n",
    "listen": FIRST_LINE + "events {{}}\nmail {{\nauth_http 127.0.0.1:9/;\nserver {{\n"
    "protocol imap;\n{}\n}}\n}}\n",
    "tls": FIRST_LINE + "events {{}}\nmail {{\nauth_http 127.0.0.1:9/;\nserver {{\n"
    "listen 127.0.0.1:14310 ssl; protocol imap;\n{}\n}}\n}}\n",
    "secure": FIRST_LINE + "events {{}}\nmail {{\nauth_http 127.0.0.1:9/;\nserver {{\n"
    f"listen 127.0.0.1:14310 ssl; protocol imap; {configurations_tls.GOOD}\n"
    "{}\n}}\n}}\n",
    "servers": FIRST_LINE + "events {{}}\nmail {{\nauth_http 127.0.0.1:9/;\n{}\n}}\n",
}
"""What stands around a case's text, by the level that the text is on."""

FILES = {
    "good.inc": "timeout 10s;\n",
    "again.inc": "include good.inc;\ntimeout 20s;\n",
    "half.inc": "timeout 10s\n",
    "open.inc": "server {\n",
    "close.inc": "}\n",
    "unknown.inc": "\n\nnonsense;\n",
    "nested.inc": "\ninclude unknown.inc;\n",
    "missing.inc": "\ninclude nowhere.inc;\n",
    "empty.inc": "",
    "comment.inc": "# nothing",
    "set-a.sorted": "timeout 10s;\n",
    "set-b.sorted": "timeout 20s;\n",
    "n-extra.conf": "timeout 10s;\n",
    "directory/one.inc": "timeout 10s;\n",
    "mail.conf": f"{FIRST_LINE}events {{}}\nmail {{ }}\n",
    "broken.conf": "\nnonsense;\n",
    "no-events.conf": FIRST_LINE,
    "daemon.conf": f"{FIRST_LINE}daemon off;\nevents {{}}\n",
}
"""Beside the file that is tested, for it to include, or for the command line to name."""

_STAMP = re.compile(r"^[0-9/]{10} [0-9:]{8} (\[\w+\]) \d+#\d+:", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """``output`` is stderr, then stdout; the directory, dates and process ids are replaced."""

    code: int
    output: str

    def __str__(self) -> str:
        return f"{self.output}exit code {self.code}"


def lay_out(directory: Path) -> None:
    """Write the files that cases include."""
    for name, text in FILES.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    configurations_tls.lay_out(directory / "tls")


def write(directory: Path, level: str, text: str) -> None:
    """The case's file. ``\\udcXX`` stands for the byte XX."""
    whole = AROUND[level].format(text)
    (directory / "n.conf").write_bytes(whole.encode("utf-8", "surrogateescape"))


def nginx(directory: Path, arguments: list[str]) -> Verdict:
    """What Debian's nginx says. It has no terminal on which OpenSSL could ask for the password of a key."""
    done = subprocess.run(
        [NGINX, *arguments], cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
        start_new_session=True,
    )  # fmt: skip
    return _verdict(directory, done.returncode, done.stderr + done.stdout)


class Fastmail:
    """fastmail called as nginx, loaded once: each call is a forked process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forks.py"))],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, directory: Path, arguments: list[str]) -> Verdict:
        stdin, stdout = self._pipes()
        outputs = directory.with_suffix(".stderr"), directory.with_suffix(".stdout")
        stdin.write(json.dumps([str(directory), *map(str, outputs), ["nginx", *arguments]]) + "\n")
        stdin.flush()
        code = int(stdout.readline())
        return _verdict(directory, code, b"".join(output.read_bytes() for output in outputs))

    def close(self) -> None:
        stdin, stdout = self._pipes()
        stdin.close()
        self._process.wait(30)
        stdout.close()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin and self._process.stdout
        return self._process.stdin, self._process.stdout


def _verdict(directory: Path, code: int, output: bytes) -> Verdict:
    text = output.decode("utf-8", "surrogateescape").replace(str(directory), "DIR")
    return Verdict(code, _STAMP.sub(r"DATE \1 PID:", text))
