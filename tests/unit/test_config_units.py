"""Numbers, sizes and times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmail.config import units

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("30", 30 * SECOND),
        ("30s", 30 * SECOND),
        ("1h30m", HOUR + 30 * MINUTE),
        ("1m 30s 500ms", MINUTE + 30_500),
        ("1w2d", 9 * DAY),
        ("500ms", 500),
        ("1h30", HOUR + 30 * SECOND),
        ("30 ", 30 * SECOND),
        (" 30", 30 * SECOND),
        ("1hm", HOUR),
        ("1ms1", 1001),
        ("9223372036854775", 9223372036854775000),
    ],
)
def test_milliseconds(text: str, value: int) -> None:
    assert units.milliseconds(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "s",
        "-1",
        "1x",
        "5S",
        "1s1m",
        "5 s",
        "1y",
        "1M",
        "1ms1s",
        "1m1m",
        "9223372036854776",
        "1.5s",
        "٣",
    ],
)
def test_not_milliseconds(text: str) -> None:
    with pytest.raises(ValueError):
        units.milliseconds(text)


@pytest.mark.parametrize(
    ("text", "value"), [("5m", 300), ("1y2M", 365 * 86400 + 60 * 86400), ("1d 1", 86401), ("0", 0)]
)
def test_seconds(text: str, value: int) -> None:
    assert units.seconds(text) == value


@pytest.mark.parametrize("text", ["1ms", "1M1y", "1y1y", "", "9223372036854775808"])
def test_not_seconds(text: str) -> None:
    with pytest.raises(ValueError):
        units.seconds(text)


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("4k", 4096), ("4K", 4096), ("1m", 1 << 20), ("1M", 1 << 20), ("007", 7)]
)
def test_sizes(text: str, value: int) -> None:
    assert units.size(text) == value


@pytest.mark.parametrize("text", ["", "k", "1g", "1G", "-1", "1 k", "1kk", "9007199254740993k"])
def test_not_sizes(text: str) -> None:
    with pytest.raises(ValueError):
        units.size(text)


def test_offsets_know_gigabytes() -> None:
    assert units.offset("2g") == units.offset("2G") == 2 << 30


@pytest.mark.parametrize("text", ["", "+1", "-1", "1 ", "0x1", "1_0", "²", "9223372036854775808", "1" * 3000])
def test_not_numbers(text: str) -> None:
    with pytest.raises(ValueError):
        units.number(text)


def test_largest_number() -> None:
    assert units.number("00009223372036854775807") == 2**63 - 1


@given(st.text(alphabet="0123456789yMwdhms .x-", max_size=12))
def test_a_time_is_bounded_or_refused(text: str) -> None:
    for convert in (units.milliseconds, units.seconds):
        try:
            assert 0 <= convert(text) <= units.MAXIMUM
        except ValueError:
            pass


@given(st.integers(0, 6), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_times_add_up(days: int, hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
    text = f"{days}d{hours}h {minutes}m{seconds}s  {milliseconds}ms"
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert units.milliseconds(text) == total * 1000 + milliseconds
