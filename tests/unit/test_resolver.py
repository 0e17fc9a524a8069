"""Lookups against name servers that answer, lie and are silent; and what an engine is told of them."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from support.dns import (
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    NameServer,
    Question,
    Record,
    Reply,
    Zone,
    client,
    reverse,
)
from support.engine import descriptors_left
from support.ports import reserve

import fastmail.resolver
from fastmail._speedups import NAME_FOUND, NAME_TEMPORARILY_UNAVAILABLE, NAME_UNAVAILABLE
from fastmail.config import ResolverServers
from fastmail.logs import Log
from fastmail.resolver import ClientNames, ResolveError, Resolver

ADDRESS, NAME = "192.0.2.7", "mx.example.net"


class Lines(Log):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def log(self, level: int, message: str, error: OSError | None = None) -> None:
        self.lines.append(message)


def servers(*ports: int, **options: Any) -> ResolverServers:
    return ResolverServers(tuple((socket.AF_INET, ("127.0.0.1", port)) for port in ports), **options)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(work, 20))


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


class Asked:
    """In an engine's place."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, bytes, bool]] = []
        self.done = asyncio.Event()

    def name_found(self, handle: int, outcome: int, text: bytes, *, forward: bool = False) -> None:
        self.told.append((handle, outcome, text, forward))
        self.done.set()


def find(answers: Any, address: str = ADDRESS, seconds: float = 10, **options: Any) -> tuple[int, str, bool]:
    async def work(port: int) -> tuple[int, str, bool]:
        engine = Asked()
        names = ClientNames(engine)
        names.find(7, address, Resolver(servers(port, **options), Lines()), seconds)
        await engine.done.wait()
        ((handle, outcome, text, forward),) = engine.told
        assert handle == 7
        return outcome, text.decode(), forward

    with NameServer(answers) as server:
        result: tuple[int, str, bool] = run(work(server.port))
        return result


HOSTILE_NAMES = [
    [b"a\r\nAuth-Status: OK", b"x"],
    [b"a b"],
    [b"a\0b"],
    [b"a_b", b"example"],
    [b'a"b'],
    ["é".encode()],
    [b"a.b\n"],
    [b"[127", b"0", b"0", b"1]"],
    [],
]


@pytest.mark.parametrize("labels", HOSTILE_NAMES, ids=repr)
def test_a7_name_that_is_none(labels: list[bytes]) -> None:
    """Not one byte of it comes further than the log."""
    outcome, text, _ = find(Zone({(reverse(ADDRESS), "PTR"): Reply([Record("PTR", labels)])}))
    assert outcome == NAME_TEMPORARILY_UNAVAILABLE
    assert text.startswith(f'{ADDRESS} resolved to invalid host name "')
    assert "\n" not in text


@pytest.mark.parametrize("address", [ADDRESS, "2001:db8::7", "::ffff:192.0.2.7"])
def test_found(address: str) -> None:
    assert find(Zone(client(address, "MX.Example.Net")), address) == (NAME_FOUND, NAME, True)


POINTED = Reply([Record("PTR", NAME)])
POINTER = {(reverse(ADDRESS), "PTR"): Reply([Record("PTR", NAME)])}
NOT_FOUND = "could not be resolved (3: Host not found)"
OUTCOMES = {
    "no pointer": (Zone(), (NAME_UNAVAILABLE, f"{ADDRESS} {NOT_FOUND}", False)),
    "empty answer": (
        Zone({(reverse(ADDRESS), "PTR"): Reply()}),
        (NAME_UNAVAILABLE, f"{ADDRESS} {NOT_FOUND}", False),
    ),
    "failing server": (
        lambda _: Reply(code=SERVFAIL),
        (NAME_TEMPORARILY_UNAVAILABLE, f"{ADDRESS} could not be resolved (2: Server failure)", False),
    ),
    "refusing server": (
        lambda _: Reply(code=REFUSED),
        (NAME_TEMPORARILY_UNAVAILABLE, f"{ADDRESS} could not be resolved (5: Operation refused)", False),
    ),
    "name without addresses": (Zone(POINTER), (NAME_UNAVAILABLE, f'"{NAME}" {NOT_FOUND}', True)),
    "name that leads elsewhere": (
        Zone(client(ADDRESS, NAME, back="192.0.2.8")),
        (NAME_UNAVAILABLE, "", True),
    ),
    "one of many addresses": (
        Zone(POINTER | {(NAME, "A"): Reply([Record("A", f"192.0.2.{n}") for n in range(1, 9)])}),
        (NAME_FOUND, NAME, True),
    ),
    "first of several pointers": (
        Zone(
            client(ADDRESS, NAME)
            | {(reverse(ADDRESS), "PTR"): Reply([Record("PTR", NAME), Record("PTR", "b")])}
        ),
        (NAME_FOUND, NAME, True),
    ),
    "one family fails": (
        Zone(client(ADDRESS, NAME) | {(NAME, "AAAA"): Reply(code=SERVFAIL)}),
        (NAME_TEMPORARILY_UNAVAILABLE, f'"{NAME}" could not be resolved (2: Server failure)', True),
    ),
    "pointer by way of an alias": (
        Zone(
            client(ADDRESS, NAME)
            | {
                (reverse(ADDRESS), "PTR"): Reply([Record("CNAME", "7.net.example")]),
                ("7.net.example", "PTR"): Reply([Record("PTR", NAME)]),
            }
        ),
        (NAME_FOUND, NAME, True),
    ),
    "neither a pointer nor an alias": (
        Zone({(reverse(ADDRESS), "PTR"): Reply([Record("DNAME", "example", name="2.0.192.in-addr.arpa")])}),
        (NAME_TEMPORARILY_UNAVAILABLE, f"{ADDRESS} could not be resolved (2: Server failure)", False),
    ),
    "neither an address nor an alias": (
        Zone(POINTER | {(NAME, "A"): Reply([Record("DNAME", "example", name="net")])}),
        (NAME_TEMPORARILY_UNAVAILABLE, f'"{NAME}" could not be resolved (2: Server failure)', True),
    ),
    "truncated": (
        lambda q: Reply(truncated=True) if not q.tcp else Zone(client(ADDRESS, NAME))(q),
        (NAME_FOUND, NAME, True),
    ),
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_outcome(case: str) -> None:
    answers, outcome = OUTCOMES[case]
    assert find(answers) == outcome


def test_a38_alias_of_itself() -> None:
    """A chain of aliases is followed so far, and no farther."""
    zone = Zone(POINTER | {(NAME, kind): Reply([Record("CNAME", NAME)]) for kind in ("A", "AAAA")})
    assert find(zone)[:2] == (
        NAME_TEMPORARILY_UNAVAILABLE,
        f'"{NAME}" could not be resolved (2: Server failure)',
    )


LIES: dict[str, Any] = {
    "another id": lambda q: [Reply([Record("PTR", "evil.example")], id=q.id ^ 1)],
    "another question": lambda q: [Reply([Record("PTR", "evil.example")], question="x.example")],
    "no DNS": lambda _: [b"\xff" * 100],
    "an empty packet": lambda _: [b"\0"],
    "a loop in a name": lambda q: [q.raw[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + b"\xc0\x0c" * 20],
}


@pytest.mark.parametrize("lie", LIES)
def test_a38_lies_before_the_answer(lie: str) -> None:
    """What is no answer to our question changes nothing: the truth, or our time, comes after it."""

    def answers(question: Question) -> Any:
        return [*LIES[lie](question), Zone(client(ADDRESS, NAME))(question)]

    outcome, text, _ = find(answers, seconds=0.5)
    assert (outcome, text) in (
        (NAME_FOUND, NAME),
        (NAME_TEMPORARILY_UNAVAILABLE, f"{ADDRESS} could not be resolved (110: Operation timed out)"),
    )


@pytest.mark.directive("resolver_timeout")
def test_silence() -> None:
    outcome = find(lambda _: None, seconds=0.1)
    assert outcome == (
        NAME_TEMPORARILY_UNAVAILABLE,
        f"{ADDRESS} could not be resolved (110: Operation timed out)",
        False,
    )


def test_families_turned_off() -> None:
    asked: list[str] = []

    def answers(question: Question) -> Reply:
        asked.append(question.kind)
        return Zone(client(ADDRESS, NAME))(question)

    assert find(answers, ipv6=False)[0] == NAME_FOUND
    assert asked == ["PTR", "A"]
    assert find(answers, ipv4=False)[0] == NAME_UNAVAILABLE
    assert asked == ["PTR", "A", "PTR", "AAAA"]


def test_silent_server_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question goes on to the next one; and each new question begins with another."""
    monkeypatch.setattr(fastmail.resolver, "RESEND", 1.0)  # more than an answer takes

    async def work(*ports: int) -> list[str]:
        resolver = Resolver(servers(*ports), Lines())
        return [await resolver.pointer(f"192.0.2.{n}", 10) for n in range(4)]

    zone = Zone({(reverse(f"192.0.2.{n}"), "PTR"): Reply([Record("PTR", f"h{n}")]) for n in range(4)})
    with NameServer(lambda _: None) as silent, NameServer(zone) as server:
        assert run(work(silent.port, server.port)) == ["h0", "h1", "h2", "h3"]
        assert len(server.asked) == 4
        assert len(silent.asked) == 2


def test_first_question_goes_to_the_first_server() -> None:
    async def work(*ports: int) -> None:
        resolver = Resolver(servers(*ports), Lines())
        for n in range(3):
            await resolver.pointer(f"192.0.2.{n}", 10)

    with NameServer(lambda _: POINTED) as first, NameServer(lambda _: POINTED) as second:
        run(work(first.port, second.port))
        assert first.asked == [f"{reverse(f'192.0.2.{n}')} PTR" for n in (0, 2)]
        assert second.asked == [f"{reverse('192.0.2.1')} PTR"]


def test_no_server_there() -> None:
    port = reserve()
    log = Lines()

    async def work(other: int) -> str:
        resolver = Resolver(servers(port, port, other), log)
        return await resolver.pointer(ADDRESS, 10)

    with NameServer(Zone(client(ADDRESS, NAME))) as server:
        assert run(work(server.port)) == NAME
    line = f"recv() failed (111: Connection refused) while resolving, resolver: 127.0.0.1:{port}"
    assert set(log.lines) == {line}


@pytest.mark.parametrize(("ttl", "valid", "times"), [(300, None, 1), (0, None, 2), (0, 60, 1), (300, 0, 2)])
@pytest.mark.directive("resolver")
def test_answers_are_kept(ttl: int, valid: int | None, times: int) -> None:
    async def work(port: int) -> None:
        resolver = Resolver(servers(port, valid=valid), Lines())
        for _ in range(2):
            assert await resolver.pointer(ADDRESS, 10) == NAME

    with NameServer(lambda _: Reply([Record("PTR", NAME, ttl=ttl)])) as server:
        run(work(server.port))
        assert len(server.asked) == times


def test_failures_are_not_kept() -> None:
    async def work(port: int) -> None:
        resolver = Resolver(servers(port), Lines())
        for _ in range(2):
            with pytest.raises(ResolveError):
                await resolver.pointer(ADDRESS, 10)

    with NameServer(lambda _: Reply(code=NXDOMAIN)) as server:
        run(work(server.port))
        assert len(server.asked) == 2


def test_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastmail.resolver, "CACHE_MOST", 3)

    async def work(port: int) -> int:
        resolver = Resolver(servers(port), Lines())
        for n in range(10):
            await resolver.pointer(f"192.0.2.{n}", 10)
        return len(resolver._cache)

    with NameServer(lambda _: Reply([Record("PTR", NAME)])) as server:
        assert run(work(server.port)) == 3


def test_kept_answers_have_no_more_records_than_are_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of names the first, as everywhere: the owner of a reverse zone must not fill the memory with others."""
    monkeypatch.setattr(fastmail.resolver, "ADDRESSES_MOST", 2)
    names = Reply([Record("PTR", f"mx{n}.example.net") for n in range(5)])
    addresses = Reply([Record("A", f"192.0.2.{n}") for n in range(5)])

    async def work(port: int) -> list[list[str]]:
        resolver = Resolver(servers(port, ipv6=False), Lines())
        assert await resolver.pointer(ADDRESS, 10) == "mx0.example.net"
        assert await resolver.addresses(NAME, 10) == ["192.0.2.0", "192.0.2.1"]
        return [answer.values for answer in resolver._cache.values()]

    table = {(reverse(ADDRESS), "PTR"): names, (NAME, "A"): addresses}
    with NameServer(Zone(table)) as server:
        assert run(work(server.port)) == [["mx0.example.net"], ["192.0.2.0", "192.0.2.1"]]


def test_one_question_for_all_who_ask_it() -> None:
    """Also when the first of them does not wait for the answer."""

    async def work(port: int) -> list[str]:
        resolver = Resolver(servers(port), Lines())
        first = asyncio.ensure_future(resolver.pointer(ADDRESS, 10))
        others = [asyncio.ensure_future(resolver.pointer(ADDRESS, 10)) for _ in range(5)]
        await asyncio.sleep(0)
        first.cancel()
        return await asyncio.gather(*others)

    with NameServer(lambda _: Reply([Record("PTR", NAME)])) as server:
        assert run(work(server.port)) == [NAME] * 5
        assert len(server.asked) == 1


def test_a38_silent_server_and_many_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who are one too many are told at once that there is no name now."""
    monkeypatch.setattr(fastmail.resolver, "LOOKUPS_MOST", 5)

    async def work(port: int) -> None:
        engine = Asked()
        names = ClientNames(engine)
        resolver = Resolver(servers(port), Lines())
        for number in range(8):
            names.find(number, f"192.0.{number}.2", resolver, 10)
        assert engine.told == [(n, NAME_TEMPORARILY_UNAVAILABLE, b"", False) for n in (5, 6, 7)]
        await names.close()
        assert len(engine.told) == 8

    with NameServer(lambda _: None) as server:
        run(work(server.port))


def only(*silent: str) -> Any:
    """A name server that knows NAME by ADDRESS, and is silent about what ends in one of these."""
    zone = Zone(client(ADDRESS, NAME))
    return lambda question: None if question.name.endswith(silent) else zone(question)


async def named_beside(port: int, crowd: list[str]) -> list[tuple[int, int, bytes, bool]]:
    """What is told of sessions 0, 1, … from ``crowd``, and of one from ADDRESS until that has its name."""
    engine = Asked()
    names = ClientNames(engine)
    resolver = Resolver(servers(port), Lines())
    for handle, address in enumerate(crowd):
        names.find(handle, address, resolver, 10)
    told = list(engine.told)
    engine.done.clear()
    names.find(len(crowd), ADDRESS, resolver, 10)
    await engine.done.wait()
    told.append(engine.told[-1])
    await names.close()
    assert sorted(handle for handle, *_ in engine.told) == list(range(len(crowd) + 1))
    return told


def test_a38_many_clients_of_one_address() -> None:
    """They ask one question, and take nobody else's name away."""
    with NameServer(only(reverse("198.51.100.1"))) as server:
        crowd = ["198.51.100.1"] * 2 * fastmail.resolver.LOOKUPS_MOST
        told = run(named_beside(server.port, crowd))
        assert told == [(len(crowd), NAME_FOUND, NAME.encode(), True)]
        assert server.asked.count(f"{reverse('198.51.100.1')} PTR") == 1


@pytest.mark.parametrize(
    "network", ["198.51.100.{}", "::ffff:198.51.100.{}", "2001:db8:0:{}::1"], ids=["v4", "mapped", "v6"]
)
def test_a38_many_clients_of_one_network(monkeypatch: pytest.MonkeyPatch, network: str) -> None:
    """Whose reverse zones are all silent."""
    monkeypatch.setattr(fastmail.resolver, "LOOKUPS_MOST", 80)
    crowd = [network.format(n) for n in range(1, 100)]
    with NameServer(only(".51.198.in-addr.arpa", "ip6.arpa")) as server:
        *refused, last = run(named_beside(server.port, crowd))
    assert [handle for handle, *_ in refused] == list(range(fastmail.resolver.NETWORK_MOST, 99))
    assert last == (99, NAME_FOUND, NAME.encode(), True)


def test_lookup_ends_with_the_last_session_that_waits() -> None:
    async def work(port: int) -> None:
        engine = Asked()
        names = ClientNames(engine)
        resolver = Resolver(servers(port), Lines())
        for handle in range(3):
            names.find(handle, ADDRESS, resolver, 10)
        await until(lambda: server.questions)
        names.drop(0)
        names.drop(0)
        names.drop(7)
        assert len(resolver._pending) == 1
        names.drop(1)
        names.drop(2)
        await until(lambda: not resolver._pending)
        names.find(3, ADDRESS, resolver, 10)  # a question of its own again
        names.drop(3)
        assert engine.told == []
        names.find(4, ADDRESS, resolver, 10)
        await until(lambda: len(server.questions) == 2)
        await names.close()
        assert [handle for handle, *_ in engine.told] == [4]

    with NameServer(lambda _: None) as server:
        run(work(server.port))


def test_no_descriptor_left() -> None:
    async def work(port: int) -> bytes:
        engine = Asked()
        names = ClientNames(engine)
        await asyncio.sleep(0)
        with descriptors_left(0):
            names.find(1, ADDRESS, Resolver(servers(port), Lines()), 10)
            await engine.done.wait()
        return engine.told[0][2]

    with NameServer(lambda _: None) as server:
        assert run(work(server.port)) == f"{ADDRESS} could not be resolved (24: Too many open files)".encode()


def test_given_up() -> None:
    """The engine is told, and nothing is left behind."""

    async def work(port: int) -> None:
        engine = Asked()
        names = ClientNames(engine)
        names.find(1, ADDRESS, Resolver(servers(port), Lines()), 10)
        await asyncio.sleep(0)
        await names.close()
        assert [outcome for _, outcome, _, _ in engine.told] == [NAME_TEMPORARILY_UNAVAILABLE]

    with NameServer(lambda _: None) as server:
        run(work(server.port))
