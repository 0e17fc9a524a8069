"""Warnings of certificates of ours that are not valid now: nginx loads them without a word."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fastmail._speedups import certificate_validity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NAMES = 3  # shown of a certificate that is for many


def invalid(files: Iterable[bytes]) -> Iterator[str]:
    """A text for each certificate, of the chains too, that has expired or is not valid yet.

    ``files`` are as TLSContext.certificate() takes them. Raises TLSError.
    """
    now = time.time()
    for file in files:
        shown = "data:" if file.startswith(b"data:") else os.fsdecode(file)
        for place, (subject, names, begins, ends) in enumerate(certificate_validity(file)):
            who = (
                f'"{shown}" ({_names(names)})' if not place and names else f'"{_text(subject)}" in "{shown}"'
            )
            if ends is not None and ends < now:
                yield f"certificate {who} expired on {_date(ends)}"
            elif begins is not None and begins > now:
                yield f"certificate {who} is not valid before {_date(begins)}"


def warn(messages: list[tuple[str, str]], files: Iterable[bytes]) -> None:
    """Put warnings among the messages, each certificate's once."""
    for text in invalid(files):
        if ("warn", text) not in messages:
            messages.append(("warn", text))


def _names(names: list[bytes]) -> str:
    more = [f"{len(names) - _NAMES} more"] if len(names) > _NAMES else []
    return ", ".join([*map(_text, names[:_NAMES]), *more])


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _date(seconds: int) -> str:
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S} UTC"
