"""What documents outside docs/ point to is there; of docs/, the site's builder sees to that (ci/test)."""

import re

import pytest
from support.processes import ROOT


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links(page: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    local = [link.partition("#")[0] for link in links if "://" not in link]
    assert "docs/architecture.md" in local or "docs/differences.md" in local
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_line_where_the_debugger_stops() -> None:
    """It is the first of a function that has the variable which CONTRIBUTING.md prints."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    stop = re.search(r"break (\w+\.pyx):(\d+)", text)
    assert stop and "print *__pyx_v_l" in text
    lines = (ROOT / "fastmail/engine" / stop[1]).read_text(encoding="utf-8").splitlines()
    assert re.match(r"cdef .*\(Login \*l\)", lines[int(stop[2]) - 2])
