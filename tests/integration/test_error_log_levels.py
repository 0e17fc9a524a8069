"""Where a session's lines go, for ``error_log`` at each level. Run it with ``--proxy nginx``, too."""

from functools import partial
from pathlib import Path

import pytest
from support.authserver import AuthServer, answer
from support.ports import reserve
from support.processes import Echo, Session, wait_for
from support.program import Program
from support.proxy import Proxy

MAIN = "logs/error.log"  # has level info

CASES = [
    # mail, server, where a session is logged
    ("", "", {MAIN}),
    ("error_log stderr info;", "", {"stderr"}),
    ("", "error_log stderr info;", {"stderr"}),
    ("error_log stderr info;", "error_log own.log info;", {"own.log"}),
    ("error_log mail.log info;", "error_log stderr info;", {"stderr"}),
    ("", "error_log stderr info; error_log own.log info;", {"stderr", "own.log"}),
    ("error_log stderr error;", "", set()),
    ("", "error_log stderr;", set()),
    ("error_log mail.log info; error_log second.log info;", "", {"mail.log", "second.log"}),
    ("error_log mail.log info;", "error_log own.log error;", set()),
    ("error_log mail.log info;", "error_log own.log error; error_log logs/error.log info;", {MAIN}),
    ("error_log logs/../mail.log info;", "", {"mail.log"}),
    ("error_log mail.log info; error_log mail.log info;", "", {"mail.log"}),
]


@pytest.mark.parametrize(("mail", "server", "places"), CASES)
def test_where_a_session_is_logged(proxy_kind: str, mail: str, server: str, places: set[str]) -> None:
    port = reserve()
    with Echo() as backend, AuthServer(lambda _: (answer("OK", port=backend.port),)) as auth:
        text = (
            f"auth_http 127.0.0.1:{auth.port}; {mail} "
            f"server {{ listen 127.0.0.1:{port}; protocol imap; {server} }}"
        )
        with Proxy(proxy_kind, text, [port]) as proxy:
            with Session(port) as session:
                session.exchange()
            for place in places:
                wait_for(f"the line in {place}", partial(holds, proxy, place))
            found = {place for place, lines in logged(proxy).items() if " connected to " in lines}
            assert found == places


def holds(proxy: Proxy, place: str) -> bool:
    return " client logged in, " in logged(proxy)[place]


def logged(proxy: Proxy) -> dict[str, str]:
    files = {
        str(path.relative_to(proxy.directory)): path.read_text("latin-1")
        for path in (Path(proxy.directory), Path(proxy.directory) / "logs")
        for path in path.glob("*.log")
    }
    return {**files, "stderr": Program.said(proxy)}
