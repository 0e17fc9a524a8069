"""TLS sessions in memory that processes share: a cache may forget, but never mistake or tear."""

import mmap
import os
import signal
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmail._speedups import TLSSessionCache

LATER = 2**40


def in_child(work: Callable[[], None]) -> int:
    """Do it in another process; its exit status."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def name(number: int) -> bytes:
    return number.to_bytes(32, "big")


IDS = st.binary(min_size=1, max_size=32) | st.integers(0, 5).map(name)
ACTIONS = st.one_of(
    st.tuples(st.just("put"), IDS, st.binary(min_size=1, max_size=3000), st.integers(0, 20)),
    st.tuples(st.just("get"), IDS, st.just(b""), st.integers(0, 20)),
    st.tuples(st.just("remove"), IDS, st.just(b""), st.just(0)),
)


@settings(max_examples=200)
@given(st.lists(ACTIONS, max_size=60), st.sampled_from([8192, 32768, 300_000]))
def test_like_a_dictionary_that_forgets(actions: list[tuple[str, bytes, bytes, int]], size: int) -> None:
    cache = TLSSessionCache(bytearray(size))
    known: dict[bytes, tuple[bytes, int]] = {}
    newest: bytes | None = None
    for action, id, data, time in actions:
        if action == "put":
            assert cache.put(id, data, time)
            known[id] = data, time
            newest = id
        elif action == "remove":
            cache.remove(id)
            known.pop(id, None)
            newest = None if newest == id else newest
        else:
            found = cache.get(id, time)
            expected, expires = known.get(id, (b"", 0))
            assert found in (None, expected)
            assert found is None or expires > time
            newest = None if newest == id and expires <= time else newest
    if newest is not None:
        data, expires = known[newest]
        assert cache.get(newest, expires - 1) == data


def test_sizes() -> None:
    cache = TLSSessionCache(bytearray(32768))
    assert cache.put(name(1), b"x" * 4096, LATER)
    assert cache.get(name(1), 0) == b"x" * 4096
    assert not cache.put(name(2), b"x" * 4097, LATER)
    assert not cache.put(b"", b"x", LATER)
    assert not cache.put(b"i" * 33, b"x", LATER)
    assert cache.get(b"i" * 33, 0) is None
    with pytest.raises(ValueError, match="8192"):
        TLSSessionCache(bytearray(100))


def test_what_is_forgotten_is_wiped() -> None:
    memory = bytearray(8192)
    cache = TLSSessionCache(memory)

    def removed() -> None:
        cache.remove(name(1))

    def aged() -> None:
        assert cache.get(name(1), 10) is None

    def replaced() -> None:
        cache.put(name(1), b"new", 20)

    for forget in (removed, aged, replaced):
        cache.put(name(1), b"a master secret", 10)
        assert b"a master secret" in memory
        forget()
        assert b"a master secret" not in memory


def test_the_oldest_give_way() -> None:
    cache = TLSSessionCache(bytearray(1 << 20))
    for number in range(20_000):
        cache.put(name(number), b"s" * 200, LATER)
    kept = [number for number in range(20_000) if cache.get(name(number), 0)]
    assert len(kept) > 3000  # nginx keeps some 4000 in a megabyte
    assert sum(number >= 17_000 for number in kept) > 2500
    assert cache.stats()["stored"] == 20_000
    assert cache.stats()["hits"] == len(kept)


def test_what_one_process_keeps_another_finds() -> None:
    memory = mmap.mmap(-1, 65536)
    cache = TLSSessionCache(memory)

    def keep() -> None:
        for number in range(50):
            TLSSessionCache(memory).put(name(number), b"%d" % number, LATER)

    assert in_child(keep) == 0
    assert [cache.get(name(number), 0) for number in range(50)] == [b"%d" % number for number in range(50)]


def test_a_process_that_dies_with_the_lock() -> None:
    memory = mmap.mmap(-1, 32768)
    cache = TLSSessionCache(memory)
    cache.put(name(1), b"old", LATER)

    def die() -> None:
        cache.hold(name(1))
        os.kill(os.getpid(), signal.SIGKILL)

    assert os.WTERMSIG(in_child(die)) == signal.SIGKILL
    assert cache.get(name(1), 0) is None  # it may have been half written
    assert cache.put(name(1), b"new", LATER)
    assert cache.get(name(1), 0) == b"new"


def test_processes_at_once() -> None:
    memory = mmap.mmap(-1, 65536)
    cache = TLSSessionCache(memory)

    def work(seed: int) -> None:
        for turn in range(3000):
            number = (turn * seed) % 97
            cache.put(name(number), bytes([number]) * (100 + number), LATER)
            found = cache.get(name((number * 7) % 97), 0)
            assert found is None or found == found[:1] * (100 + found[0])

    children = []
    for seed in (3, 5, 11):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work(seed)
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
