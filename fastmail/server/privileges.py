"""Who the workers run as (the ``user`` directive)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from fastmail.config import ConfigError, resolve_user
from fastmail.logs import describe
from fastmail.server import StartFailed


class DropFailed(Exception):
    """The process could not become what a worker is to be. str() is nginx's message."""

    def __init__(self, message: str, level: str = "emerg") -> None:
        super().__init__(message)
        self.level = level


@dataclass(frozen=True)
class User:
    """The user and group that workers become."""

    name: str
    uid: int
    gid: int

    @classmethod
    def of(cls, name: str, group: str) -> User | None:
        """The names looked up; None unless we are root, as nobody else can change. Raises StartFailed."""
        if os.geteuid() != 0:
            return None
        try:
            return cls(name, *resolve_user(name, group))
        except ConfigError as error:
            raise StartFailed(str(error)) from None

    def become(self) -> None:
        """Drop to this user for good. Raises DropFailed."""
        steps: tuple[tuple[str, Callable[[], None]], ...] = (
            (f"setgid({self.gid})", lambda: os.setgid(self.gid)),
            (f"initgroups({self.name}, {self.gid})", lambda: os.initgroups(self.name, self.gid)),
            (f"setuid({self.uid})", lambda: os.setuid(self.uid)),
        )
        for call, step in steps:
            try:
                step()
            except OSError as error:
                raise DropFailed(f"{call} failed {describe(error)}") from error
