"""Writes the manual pages into ``docs/man``: ``python -m fastmail.manual``.

``fastmail(8)`` is made from the command line's tables (fastmail/cli.py), ``fastmail.conf(5)`` from the table
of directives, as ``docs/directives.md`` is. They are in the language of man(7).
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from fastmail import __version__
from fastmail.cli import COMMANDS, LETTERS, OPTIONS, SYNOPSIS
from fastmail.config import Defaults
from fastmail.config.directive import Directive, State
from fastmail.config.directives import SECTIONS
from fastmail.config.docs import INTRODUCTION, default, value

_WRAPPER = textwrap.TextWrapper(78, break_long_words=False, break_on_hyphens=False)
DIRECTORY = Path(__file__).parents[1] / "docs" / "man"

_DESCRIPTION = """\
`fastmail` is a login proxy for IMAP, POP3 and SMTP. It asks an HTTP service whether a client's password is
good and which server holds the mailbox, logs in there, and passes bytes along from then on. It reads the
configuration of nginx's mail module, takes nginx's command line and signals, and writes its log lines.

A master process reads the configuration, opens the listening sockets and starts workers, which serve the
sessions. Without `daemon off;` it goes to the background.

Called as `nginx`, by a link, it says `nginx` in messages and takes nginx's default paths.
"""

_SIGNALS = {
    "TERM, INT": "Stop at once (`-s stop`).",
    "QUIT": "Stop accepting, and end when the last session has: `-s quit`. See `worker_shutdown_timeout`.",
    "HUP": "Read the configuration again: `-s reload`. New workers take over, old ones end as with QUIT. An "
    "error, or a worker that cannot start, leaves everything as it was.",
    "USR1": "Open the log files again, after a rotation: `-s reopen`.",
    "USR2": "Start the installed program beside this one, with the same listening sockets. QUIT to the old "
    "master completes the upgrade, QUIT to the new one takes it back.",
    "WINCH": "Stop the workers as with QUIT; the master stays. HUP starts workers again.",
}

_STATUS = """\
0 if all went well; the process that stays in the foreground when a daemon was started ends so as soon as
that listens. 1 after an error, which is named in one line on standard error and in the log; with `-t` and
`-T` also if the configuration is wrong, with `-s` also if there is no process to signal, with
`--wait` also if the new workers do not serve.
"""

_FORMAT = """\
The file consists of directives: a name, arguments and a `;`, or a name and a block in braces. Words are
separated by white space; those that contain white space, `;` or braces stand in quotes, `"` or `'`. `\\`
keeps a quote from ending a word. A `#` at the beginning of a word begins a comment. There are no variables.
"""

EXAMPLE = """\
user nobody nogroup;
worker_processes auto;
error_log /var/log/fastmail.log info;

events {
    worker_connections 10000;
}

mail {
    server_name mail.example.com;
    auth_http 127.0.0.1:8000/auth;
    auth_http_keepalive 4;

    ssl_certificate /etc/ssl/mail.example.com.crt;
    ssl_certificate_key /etc/ssl/mail.example.com.key;

    server {
        listen 993 ssl;
        listen [::]:993 ssl;
        protocol imap;
    }
    server {
        listen 587;
        protocol smtp;
        starttls only;
    }
}
"""


def program(date: str) -> str:
    """The text of fastmail(8)."""
    defaults = vars(Defaults.of("fastmail"))
    files = {
        defaults["conf"]: "The configuration.",
        defaults["pid"]: "Process id of the master, unless `pid` or `--pid` names another file.",
        defaults["error_log"]: "The log, unless `error_log` or `--error-log` names another.",
    }
    options = {names: text.format_map(defaults) + "." for names, text in OPTIONS.items()}
    return _page(
        _head("FASTMAIL", 8, "mail login proxy", date),
        ".SH SYNOPSIS", ".B fastmail", *SYNOPSIS,
        *(line for command in COMMANDS for line in (".br", ".B fastmail", _escaped(command))),
        ".SH DESCRIPTION", *_paragraphs(_DESCRIPTION),
        ".SH OPTIONS", *_list((_names(names), text[0].upper() + text[1:]) for names, text in options.items()),
        ".PP", _inline(LETTERS),
        ".SH COMMANDS", *_list((_names(command), text) for command, text in COMMANDS.items()),
        ".SH SIGNALS", "The master takes these:",
        *_list((_bold(name), text) for name, text in _SIGNALS.items()),
        ".SH FILES", *_list((_italic(name), text) for name, text in files.items()),
        ".SH EXIT STATUS", *_paragraphs(_STATUS),
        ".SH SEE ALSO", ".BR fastmail.conf (5)",
    )  # fmt: skip


def configuration(date: str) -> str:
    """The text of fastmail.conf(5)."""
    return _page(
        _head("FASTMAIL.CONF", 5, "configuration of the mail login proxy fastmail", date),
        ".SH DESCRIPTION", *_paragraphs(INTRODUCTION),
        ".SH FILE FORMAT", *_paragraphs(_FORMAT),
        ".SH DIRECTIVES", *_sections(),
        ".SH FILES", *_list([(_italic(Defaults.of("fastmail").conf), "Read if there is no `-c`.")]),
        ".SH EXAMPLES", ".EX", *map(_escaped, EXAMPLE.splitlines()), ".EE",
        ".SH SEE ALSO", ".BR fastmail (8)",
    )  # fmt: skip


def _sections() -> Iterator[str]:
    for title, directives in SECTIONS.items():
        yield f".SS {_escaped(title)}"
        yield from _list((_bold(directive.name), _directive(directive)) for directive in directives)


def _directive(directive: Directive) -> str:
    """What is said below its name."""
    parts = [directive.text]
    if directive.state is not State.SUPPORTED:
        parts.append(f"*{directive.state.value.capitalize()}.*")
    parts.append(f"Takes: {value(directive)}.")
    if (otherwise := default(directive)) not in ("", "–"):
        parts.append(f"Default: {otherwise}.")
    return " ".join([*parts, f"In {', '.join(f'`{context}`' for context in directive.contexts)}."])


def _page(*lines: str) -> str:
    note = r".\" Written by `python -m fastmail.manual`; change its sources instead."
    return "\n".join([note, *lines]) + "\n"


def _head(name: str, section: int, text: str, date: str) -> str:
    lower = name.lower()
    return f'.TH {name} {section} "{date}" "fastmail {__version__}"\n.SH NAME\n{lower} \\- {text}'


def _list(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Entries of a term, which is roff already, and a text."""
    for term, text in entries:
        yield from (".TP", term, _inline(text))


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        if number:
            yield ".PP"
        yield _inline(" ".join(paragraph.split("\n")))


def _names(text: str) -> str:
    """Options as they are typed: a value's name is set in italics."""
    literal, _, name = (text, "", "") if "," in text else text.partition(" ")
    return _bold(literal) + (f" {_italic(name)}" if name else "")


def _bold(text: str) -> str:
    return rf"\fB{_escaped(text)}\fR"


def _italic(text: str) -> str:
    return rf"\fI{_escaped(text)}\fR"


def _inline(text: str) -> str:
    """Markdown's `code` and *emphasis*; each sentence begins a line, as roff wants it."""
    marked = "".join(map(_marked, re.split(r"(`[^`]+`|(?<!\w)\*[^*]+\*)", text)))
    sentences = re.sub(r"(?<=[.:])((?:\\fR)?) +(?=[A-Z\\])", "\\1\n", marked).splitlines()
    lines = (line for sentence in sentences for line in _WRAPPER.wrap(sentence))
    return "\n".join(rf"\&{line}" if line.startswith((".", "'")) else line for line in lines)


def _marked(part: str) -> str:
    if part.startswith("`"):
        return _bold(part[1:-1])
    return _italic(part[1:-1]) if part.startswith("*") else _escaped(part)


def _escaped(text: str) -> str:
    """The text as roff prints it, with hyphens that can be copied."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    text = "".join(char if char < "\x7f" else rf"\[u{ord(char):04X}]" for char in text)
    return rf"\&{text}" if text.startswith((".", "'")) else text


PAGES = {"fastmail.8": program, "fastmail.conf.5": configuration}


def main() -> int:
    date = datetime.now(UTC).date().isoformat()
    for name, render in PAGES.items():
        (DIRECTORY / name).write_text(render(date), encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
