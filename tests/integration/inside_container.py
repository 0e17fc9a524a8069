"""Run by test_container.py in a machine of its own, with files where the container has them."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

from support.authserver import AuthServer
from support.processes import Session, wait_for

RECIPE = Path("/opt/fastmail/Containerfile").read_text()
CONF = Path("/etc/fastmail/fastmail.conf")
PORT = 1143


def words(instruction: str) -> list[str]:
    """The command of an instruction in exec form."""
    found = re.search(rf"^{instruction}\b.*?(\[.*\])$", RECIPE, re.MULTILINE)
    assert found is not None, instruction
    return [str(word) for word in json.loads(found[1])]


def health() -> "subprocess.CompletedProcess[str]":
    found = re.search(r"^ENV HEALTHCHECK=(\S+)$", RECIPE, re.MULTILINE)
    assert found is not None
    environment = {**os.environ, "HEALTHCHECK": found[1]}
    return subprocess.run(words("HEALTHCHECK"), env=environment, capture_output=True, text=True, timeout=30)


def test_entry_point_and_health_check(auth: AuthServer) -> None:
    CONF.write_text(CONF.read_text().replace("127.0.0.1:9143", f"127.0.0.1:{auth.port}"))
    Path("/run/fastmail").mkdir()
    before = health()
    assert (before.returncode, before.stderr) == (1, f"127.0.0.1:{PORT}: Connection refused\n")
    with subprocess.Popen([*words("ENTRYPOINT"), *words("CMD")], stderr=subprocess.PIPE, text=True) as child:
        try:
            wait_for("the start", lambda: health().returncode == 0)
            with Session(PORT) as session:
                session.exchange()
        finally:
            found = re.search(r"^STOPSIGNAL (\w+)$", RECIPE, re.MULTILINE)
            assert found is not None
            child.send_signal(signal.Signals[found[1]])
        _, said = child.communicate(timeout=20)
    assert child.returncode == 0
    assert 'client logged in, client: 127.0.0.1, server: 0.0.0.0:1143, login: "user"' in said
    assert not re.search(r"\[(warn|error|crit|alert|emerg)\]", said), said
