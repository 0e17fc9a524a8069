"""Everything that is measured, in the order of the report."""

from .bench import Scenario
from .crowd import FULL_HOUSE, HOUSES, Balance, LoginsBesideIdle, TwoWorkers, WakeUps
from .life import Life
from .logins import LoginLatency, Logins, SystemCallsOfLogins, TLSLogins
from .relay import Bulk, Exchange, Storm

KEYS = (
    "logins", "tls-logins", "syscalls", "bulk", "exchange",
    "life", "latency", "crowd", "workers", "storm",
)  # fmt: skip


def scenarios(
    chosen: list[str], protocols: list[str], kinds: list[str], idle_sessions: int
) -> list[Scenario]:
    """Those whose key is chosen; logins, system calls and latencies of these protocols only."""
    everything: list[Scenario] = [Logins(protocol) for protocol in protocols]
    if "pop3" in protocols:
        everything.append(Logins("pop3", pipelining=True))
    for kind in kinds:
        handshakes = [("1.3", False), ("1.3", True), ("1.2", True)]
        everything += [TLSLogins(kind, version, resume) for version, resume in handshakes]
    everything += [SystemCallsOfLogins(protocol) for protocol in protocols]
    everything += [Bulk(), Bulk(upload=True), Bulk(tls="1.3"), Exchange()]
    everything.append(Life(idle_sessions, tls_sessions(idle_sessions)))
    for preconnect in (False, True):
        everything += [LoginLatency(protocol, preconnect) for protocol in protocols]
    if "smtp" in protocols:
        everything.append(LoginLatency("envelope"))
    everything += [LoginsBesideIdle(sessions) for sessions in HOUSES]
    everything += [TwoWorkers(), Balance(), WakeUps(), Storm()]
    return [scenario for scenario in everything if scenario.key in chosen]


def most_sessions(chosen: list[str], idle_sessions: int) -> int:
    """Idle sessions that one process holds at a time."""
    life = idle_sessions + tls_sessions(idle_sessions) if "life" in chosen else 0
    return max(life, FULL_HOUSE if "crowd" in chosen else 0)


def tls_sessions(idle_sessions: int) -> int:
    """How many are held over TLS beside so many in clear."""
    return max(1, idle_sessions // 4)
