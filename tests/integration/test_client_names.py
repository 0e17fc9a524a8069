"""Host names of SMTP clients, from a name server to auth server, backend and log."""

import contextlib
import re
import smtplib

import pytest
from support.authserver import AuthServer, answer
from support.dns import NameServer, Record, Reply, Zone, client, reverse
from support.processes import Site

Table = dict[tuple[str, str], Reply]
NAME = "client.example"
POINTER = (reverse("127.0.0.1"), "PTR")
HOSTILE = Reply([Record("PTR", [b"a\r\nX: y", b"example"])])
ADDRESS_ACTION = "while in resolving client address"

CASES: dict[str, tuple[Table, str, str, str]] = {  # zone, directives, Client-Host, logged
    "confirmed": (client("127.0.0.1", NAME), "", NAME, ""),
    "off": (client("127.0.0.1", NAME), "resolver off;", "[UNAVAILABLE]", ""),
    "leads elsewhere": (client("127.0.0.1", NAME, back="192.0.2.1"), "", "[UNAVAILABLE]", ""),
    "no pointer": (
        {},
        "",
        "[UNAVAILABLE]",
        f"127.0.0.1 could not be resolved (3: Host not found) {ADDRESS_ACTION}",
    ),
    "no address": (
        {POINTER: Reply([Record("PTR", NAME)])},
        "",
        "[UNAVAILABLE]",
        f'"{NAME}" could not be resolved (3: Host not found) while in resolving client hostname',
    ),
    "a7": (
        {POINTER: HOSTILE},
        "",
        "[TEMPUNAVAIL]",
        rf'127.0.0.1 resolved to invalid host name "a\013\010x: y.example" {ADDRESS_ACTION}',
    ),
}


@pytest.mark.directive("resolver", "xclient", "server_name")
@pytest.mark.parametrize("case", CASES)
def test_client_host(site: Site, port: int, case: str) -> None:
    zone, directives, name, logged = CASES[case]
    with (
        AuthServer(lambda _: (answer("no", "Auth-Error-Code: 535 5.7.8"),)) as auth,
        NameServer(Zone(zone)) as dns,
    ):
        site.configure(
            f"auth_http 127.0.0.1:{auth.port}/; server_name mail.test; resolver 127.0.0.1:{dns.port};\n"
            f"server {{ listen 127.0.0.1:{port}; protocol smtp; {directives} }}"
        )
        site.start()
        with contextlib.closing(smtplib.SMTP("127.0.0.1", port, "client.test", 20)) as smtp:
            assert smtp.ehlo()[1].startswith(b"mail.test\n")
            assert smtp.docmd("AUTH PLAIN AGEAYg==") == (535, b"5.7.8 no")
        assert auth.requests[-1].headers["client-host"] == name
        if logged:
            line = site.wait_log(re.escape(logged))
            assert "[error]" in line
            assert line.endswith(f", client: 127.0.0.1, server: 127.0.0.1:{port}")
        else:
            assert "resolve" not in "".join(site.log())
