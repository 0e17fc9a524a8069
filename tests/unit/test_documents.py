"""What the README points to is there; of docs/, the site's builder sees to that (ci/test)."""

import re

from support.processes import ROOT


def test_links_of_the_readme() -> None:
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    local = [link.partition("#")[0] for link in links if "://" not in link]
    assert "docs/differences.md" in local
    assert [link for link in local if not (ROOT / link).exists()] == []
