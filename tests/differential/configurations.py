"""What a table of configurations is: texts by the level that they stand on."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """One configuration; ``level`` names what stands around the text (configuration.AROUND)."""

    section: str
    level: str
    text: str

    @property
    def name(self) -> str:
        """For ``-k`` and in differences; long words are shown by their length."""
        shown = self.text if len(self.text) < 100 else f"{self.text[:20]}…{len(self.text)}"
        return f"{self.level}: {shown}".encode("unicode_escape").decode()


class Table:
    """Configurations of one section: lists of texts by level, as keyword arguments (``_`` is a space)."""

    def __init__(self, **texts: list[str]) -> None:
        self._texts = {level.replace("_", " "): list(dict.fromkeys(list_)) for level, list_ in texts.items()}

    def texts(self, section: str) -> Iterator[Text]:
        for level, list_ in self._texts.items():
            for text in list_:
                yield Text(section, level, text)
