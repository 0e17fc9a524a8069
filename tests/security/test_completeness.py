"""Every attack case has a test, or a word in docs/security.md why not."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASES = set(range(1, 42))


def attacks_with_tests() -> set[int]:
    """The numbers in the names of tests: ``test_a1_a2_…``."""
    return {
        int(number)
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_a\d+_\w+)", path.read_text(), re.MULTILINE)
        for number in re.findall(r"(?<=_a)\d+(?=_)", name)
    }


def documented() -> dict[int, str]:
    """What the page says of each number."""
    page = (ROOT / "docs/security.md").read_text()
    said: dict[int, str] = {}
    for numbers, text in re.findall(r"^\| (A[^|]+) \|[^|]*\| (.*) \|$", page, re.MULTILINE):
        for part in numbers.split(", "):
            first, _, last = part.partition("–")
            for number in range(int(first[1:]), int((last or first)[1:]) + 1):
                assert number not in said
                said[number] = text
    return said


def test_every_attack_is_tested_or_explained() -> None:
    said = documented()
    assert set(said) == CASES
    assert attacks_with_tests() <= CASES
    for number in CASES - attacks_with_tests():
        assert "tested" not in said[number], f"A{number} has no test"
        assert len(said[number]) > 20


def test_what_is_said_to_be_tested_is() -> None:
    assert {number for number, text in documented().items() if "tested" in text} <= attacks_with_tests()
