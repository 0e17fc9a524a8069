"""README.md and docs/**/*.md as tests see them: their blocks and the commands in their text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from support.processes import ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

SHOWN_ONLY = re.compile(r"<!--\s*not run:\s*(.*?)\s*-->", re.DOTALL)
"""What stands before a block of commands that cannot be run by a test, with the reason."""

_COMMAND = re.compile(
    r"(\./)?(ci|perf|\.venv|build)/\S+ |(fastmail|python3?|pytest|make|curl|flask|uvicorn) "
)
"""How a command in the text begins; a name without arguments is just a name."""


def assert_current(page: Path, text: str, module: str) -> None:
    """Fail with the command that writes the page unless it has this text."""
    current = page.read_text(encoding="utf-8") == text
    assert current, f"{page.relative_to(ROOT)} is out of date; to write it: .venv/bin/python -m {module}"


@dataclass(frozen=True)
class Block:
    """A block of code, or a command in the text (``inline``)."""

    line: int
    language: str
    text: str
    reason: str | None = None
    inline: bool = False

    @property
    def commands(self) -> bool:
        """Whether these are commands: said so, or nothing else said."""
        return self.language in ("", "sh", "bash", "shell", "console")


def blocks(page: Path) -> Iterator[Block]:
    """All that look like code, from the top. Raises ValueError if a comment "not run" is followed by none."""
    reason: str | None = None
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        if token.type in ("fence", "code_block"):
            yield Block(_line(token), token.info.strip(), token.content, reason)
        elif reason is not None:
            raise ValueError(f'{page.name}:{_line(token)}: nothing to run follows "not run: {reason}"')
        elif token.type == "inline":
            for child in token.children or ():
                if child.type == "code_inline" and _COMMAND.match(child.content):
                    yield Block(_line(token), "sh", child.content + "\n", inline=True)
        found = SHOWN_ONLY.fullmatch(token.content.strip()) if token.type == "html_block" else None
        reason = found[1] if found else None


def _line(token: Token) -> int:
    return token.map[0] + 1 if token.map else 0
