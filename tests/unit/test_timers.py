"""The timer wheel against a plain list of deadlines."""

from hypothesis import given
from hypothesis import strategies as st

from fastmail._speedups import TimerWheel

TICK = 16  # milliseconds
REACH = 64**4 * TICK  # a deadline further away is reported early, to be armed again
COUNT = 40

DELAYS = st.one_of(
    st.integers(0, 200),
    st.integers(0, 64 * TICK * 3),
    st.integers(0, 64**2 * TICK * 3),
    st.integers(0, 64**3 * TICK * 2),
    st.integers(0, 4 * 86_400_000),  # beyond the reach
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.integers(0, COUNT - 1), DELAYS),
        st.tuples(st.just("stop"), st.integers(0, COUNT - 1), st.just(0)),
        st.tuples(st.just("sleep"), st.just(0), DELAYS),
        st.tuples(st.just("wait"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


class Model:
    """Deadlines in a dictionary."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.wheel = TimerWheel(COUNT, now)
        self.armed: dict[int, tuple[int, int]] = {}  # number: (deadline, armed at)

    def start(self, number: int, delay: int) -> None:
        deadline = self.now + delay
        self.wheel.start(number, deadline)
        if number not in self.armed or self.armed[number][0] > deadline:
            self.armed[number] = (deadline, self.now)

    def stop(self, number: int) -> None:
        self.wheel.stop(number)
        self.armed.pop(number, None)

    def advance(self, to: int) -> None:
        assert to >= self.now
        self.now = to
        for number in self.wheel.advance(to):
            deadline, armed_at = self.armed.pop(number)  # armed, and fired once only
            if deadline - armed_at < REACH - TICK:
                assert deadline <= to
        for deadline, armed_at in self.armed.values():
            # Rounded up to a tick; what is due at once is due with the next one.
            assert to < max(deadline, armed_at + 1) + 2 * TICK


@given(STEPS, st.integers(0, 1 << 40))
def test_fires_in_time_and_once(steps: list[tuple[str, int, int]], now: int) -> None:
    model = Model(now)
    for what, number, milliseconds in steps:
        if what == "start":
            model.start(number, milliseconds)
        elif what == "stop":
            model.stop(number)
        elif what == "sleep":
            model.advance(model.now + milliseconds)
        elif (sleep := model.wheel.wait(model.now)) >= 0:
            model.advance(model.now + sleep)


@given(st.lists(DELAYS, min_size=1, max_size=COUNT), st.integers(0, 1 << 40))
def test_sleeping_as_told_reaches_every_deadline(delays: list[int], now: int) -> None:
    """What the loop does: sleep as long as wait() says, advance, and so on until nothing is armed."""
    model = Model(now)
    for number, delay in enumerate(delays):
        model.start(number, delay)
    for _ in range(64 * 64):
        sleep = model.wheel.wait(model.now)
        if sleep < 0:
            break
        model.advance(model.now + max(sleep, 1))
    assert model.wheel.wait(model.now) == -1
    assert not model.armed


def test_a_deadline_that_moves_on_is_not_moved() -> None:
    """The first time stays: who is called looks at his own deadline and arms again."""
    wheel = TimerWheel(1, 0)
    wheel.start(0, 1000)
    wheel.start(0, 5000)
    assert wheel.advance(1008) == [0]
    assert wheel.wait(1008) == -1
    wheel.start(0, 5000)
    wheel.start(0, 2000)
    assert wheel.advance(2000) == [0]
