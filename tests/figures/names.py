"""Prints what happens to the host names of SMTP clients while one address, whose reverse zone is silent, has
a thousand connections:

    PYTHONPATH=tests .venv/bin/python tests/figures/names.py
"""

import smtplib
import socket
from collections import Counter
from contextlib import ExitStack

from support.authserver import AuthServer, answer
from support.dns import NameServer, Question, Reply, Zone, client, reverse
from support.ports import HOST, reserve
from support.processes import Site

ATTACKER, CONNECTIONS = "127.9.9.9", 1100
OTHERS = [f"127.1.{n}.1" for n in range(20)]


def answers(question: Question) -> Reply | None:
    if question.name == reverse(ATTACKER):
        return None
    zone = Zone()
    for number, address in enumerate(OTHERS):
        zone.table |= client(address, f"mx{number}.example")
    return zone(question)


def main() -> None:
    with ExitStack() as stack:
        dns = stack.enter_context(NameServer(answers))
        auth = stack.enter_context(AuthServer(lambda _: (answer("no", "Auth-Error-Code: 535 5.7.8"),)))
        site, port = Site(), reserve()
        stack.callback(site.close)
        site.configure(
            f"auth_http {HOST}:{auth.port}/; resolver {HOST}:{dns.port};\n"
            f"server {{ listen {HOST}:{port}; protocol smtp; }}",
            connections=4096,
        )
        site.start()
        for _ in range(CONNECTIONS):
            stack.enter_context(socket.create_connection((HOST, port), source_address=(ATTACKER, 0)))
        site.wait_log(f"client {ATTACKER}:", count=CONNECTIONS)
        for address in OTHERS:
            with smtplib.SMTP(HOST, port, "x", 20, source_address=(address, 0)) as smtp:
                smtp.ehlo()
                smtp.docmd("AUTH PLAIN AGEAYg==")
        hosts = Counter(request.headers["client-host"] for request in auth.requests)
        unavailable = hosts["[TEMPUNAVAIL]"]
        asked = dns.asked.count(f"{reverse(ATTACKER)} PTR")
    print(f"{CONNECTIONS} connections from {ATTACKER}: its name was asked for {asked} times")
    print(f"{len(OTHERS)} other clients: {len(OTHERS) - unavailable} had a name, {unavailable} [TEMPUNAVAIL]")


if __name__ == "__main__":
    main()
