"""The same sessions through Debian's nginx and through fastmail: every byte to anybody is the same.

Each case plays on both, in front of recording peers; where differences.py says so, what nginx did is
turned into what fastmail is meant to do before the two are compared.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cases_auth
import cases_backend
import cases_front
import cases_imap
import cases_pop3
import cases_sasl
import cases_smtp
import cases_tls
import pytest
from case import Case
from differences import DIFFERENCES, FAREWELL, intended, rewritten
from reference import NO_VERSION
from stage import Stage

TABLES = [cases_imap, cases_sasl, cases_auth, cases_backend, cases_pop3, cases_smtp, cases_front, cases_tls]
CASES: list[Case] = [case for table in TABLES for case in table.CASES]

FASTMAIL_PROTOCOLS = ("imap", "pop3", "smtp")
"""What fastmail speaks so far; the other protocols' tables are checked against nginx alone."""


@pytest.fixture(scope="module")
def nginx() -> Iterator[Stage]:
    stage = Stage("nginx", ["imap", "pop3", "smtp"])
    yield stage
    stage.stop()


@pytest.fixture(scope="module")
def fastmail() -> Iterator[Stage]:
    stage = Stage("fastmail", FASTMAIL_PROTOCOLS)
    yield stage
    stage.stop()


@pytest.mark.directive(
    "mail", "server", "listen", "protocol", "server_name", "timeout", "max_errors", "auth_http",
    "auth_http_timeout", "auth_http_header", "imap_auth", "imap_capabilities", "imap_client_buffer",
    "pop3_auth", "pop3_capabilities", "smtp_auth", "smtp_capabilities", "smtp_client_buffer",
    "smtp_greeting_delay", "proxy_buffer", "proxy_timeout", "proxy_pass_error_message",
    "proxy_smtp_auth", "xclient", "resolver", "proxy_protocol", "set_real_ip_from"
)  # fmt: skip
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.server}: {case.name}")
def test_session(case: Case, nginx: Stage, proxy_kind: str, request: pytest.FixtureRequest) -> None:
    compare = case.protocol in FASTMAIL_PROTOCOLS and proxy_kind == "fastmail"
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(request.getfixturevalue("fastmail").play, case) if compare else None
        seen = nginx.play(case)
    differences = intended(case)
    expected = rewritten(case, seen, differences)
    listed = [difference for difference in differences if case.name in difference.cases]
    for difference in listed:
        assert rewritten(case, seen, [difference]) != seen, f"nginx does so too: {difference.reason}"
    assert rewritten(case, seen, [each for each in differences if each is not FAREWELL]).client == case.client
    if future is None:
        return  # the table is right, and that is all there is to see
    observed = future.result()
    for difference in listed:
        others = [other for other in differences if other is not difference]
        stale = rewritten(case, seen, others) == observed
        assert not stale, f"fastmail does as nginx does: {difference.reason}"
    assert observed.described() == expected.described()


def test_differences_name_cases() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert [name for difference in DIFFERENCES for name in difference.cases if name not in names] == []
    assert all(("older nginx" in each.reason) == (each.until != NO_VERSION) for each in DIFFERENCES)
