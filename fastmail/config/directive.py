"""What is known about one directive."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .kinds import Kind
from .statement import Context, Environment


class State(Enum):
    SUPPORTED = "supported"
    NO_FUNCTION = "accepted without function"


class Merge(Enum):
    """How a server comes by its value."""

    NONE = "one level only"
    VALUE = "server, else mail, else default"
    LIST = "the server's entries, else the mail block's"


@dataclass(frozen=True)
class Computed:
    """A default that depends on where the program runs; ``text`` is what the documentation says."""

    text: str
    make: Callable[[Environment], Any]


@dataclass(frozen=True)
class Arguments:
    """How many words follow the name; ``most`` None: any number."""

    least: int
    most: int | None
    block: bool = False

    def accept(self, count: int) -> bool:
        return self.least <= count and (self.most is None or count <= self.most)

    def __str__(self) -> str:
        if self.block:
            return "{ }"
        if self.most is None:
            return f"{self.least} or more"
        return str(self.least) if self.least == self.most else f"{self.least}–{self.most}"


@dataclass(frozen=True)
class Directive:
    """A line of the table (directives.py)."""

    name: str
    contexts: tuple[Context, ...]
    arguments: Arguments
    kind: Kind
    default: Any
    merge: Merge
    text: str
    state: State = State.SUPPORTED
    warns: bool = False  # a block that is read over with a warning

    def default_for(self, environment: Environment) -> Any:
        """The built-in value."""
        return self.default.make(environment) if isinstance(self.default, Computed) else self.default
