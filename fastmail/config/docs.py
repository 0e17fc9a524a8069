"""Writes ``docs/directives.md`` from the table: ``python -m fastmail.config.docs [FILE]``."""

import sys
from pathlib import Path
from typing import Any

from .directive import Computed, Directive, Merge, State
from .directives import BLOCK, SECTIONS
from .kinds import MSEC, SEC, SIZE

_HEAD = """\
# Directives

<!-- Written by `python -m fastmail.config.docs`; change fastmail/config/directives.py instead. -->

"""

INTRODUCTION = """\
The configuration language is nginx's, and so are the directives, unless it says that one is an addition of
fastmail. *Accepted without function* means: checked, and not needed. The blocks `http`, `stream`, `rtmp` and
`mgmt` are read over with a warning.

Contexts: `main`, `events`, `mail`, `server` (in `mail`). A value of `mail` holds for each `server` that has
none of its own; what a `server` says of a list (*list*) replaces the whole list of `mail`, while entries on
the same level add up.

Sizes are bytes, `k` or `m` (`worker_rlimit_core`: also `g`); times are `ms`, `s`, `m`, `h`, `d`, `w`, in
falling order (`1h 30m`), seconds when there is no unit. Those marked (s) have no `ms`, but `M` (30 days) and
`y` (365 days).

Names of files are relative to the directory of the main configuration file; those of `pid`, `error_log`,
`-c` and `-e` are relative to the prefix (`-p`, or `/etc/fastmail/`). What stands behind `unix:` is taken as
it is.
"""


def render() -> str:
    """The page's text."""
    parts = [_HEAD, INTRODUCTION]
    for title, directives in SECTIONS.items():
        rows = [_row(directive) for directive in directives]
        parts.append(
            f"\n## {title}\n\n"
            "| directive | value | default | contexts | |\n"
            "| --- | --- | --- | --- | --- |\n" + "".join(rows)
        )
    return "".join(parts)


def _row(directive: Directive) -> str:
    text = directive.text
    if directive.state is not State.SUPPORTED:
        text += f" *{directive.state.value.capitalize()}.*"
    cells = [
        f"`{directive.name}`",
        value(directive),
        default(directive),
        " ".join(directive.contexts),
        text,
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def value(directive: Directive) -> str:
    """What a directive takes, in Markdown."""
    if directive.kind is BLOCK:
        return "{ }"
    words = " ".join(f"`{choice}`" for choice in directive.kind.choices)
    text = f"{directive.kind.name}: {words}" if words else directive.kind.name
    if directive.arguments.most is None:
        text += ", one or more"
    return f"{text} (*list*)" if directive.merge is Merge.LIST else text


def default(directive: Directive) -> str:
    """What holds when a directive is not there, in Markdown; nothing for a block, – for no value."""
    found = directive.default
    if isinstance(found, Computed):
        return found.text
    if found is None or found == ():
        return "–" if directive.kind is not BLOCK else ""
    return f"`{_text(directive, found)}`"


def _text(directive: Directive, default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return " ".join(default)
    if directive.kind is MSEC:
        return _duration(default)
    if directive.kind is SEC:
        return _duration(default * 1000)
    if directive.kind is SIZE and default and default % 1024 == 0:
        return f"{default // 1024}k"
    return str(default)


def _duration(milliseconds: int) -> str:
    if milliseconds == 0:
        return "0"
    for unit, scale in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % scale == 0 and milliseconds >= scale:
            return f"{milliseconds // scale}{unit}"
    return f"{milliseconds}ms"


def main() -> None:
    page = Path(__file__).parents[2] / "docs" / "directives.md"
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else page
    target.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
