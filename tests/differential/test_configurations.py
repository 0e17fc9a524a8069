"""Configurations and command lines through nginx and through fastmail called as nginx: the messages on stderr
with their level, file and line, and the exit code are the same."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import configurations_language
import configurations_mail
import configurations_main
import configurations_tls
import pytest
from configuration import Fastmail, Verdict, lay_out, nginx, write
from configurations import Text
from configurations_commands import COMMANDS
from configurations_differences import DIFFERENCES, everywhere, intended, names, removed
from reference import NO_VERSION

TABLES = configurations_language, configurations_main, configurations_mail, configurations_tls
SECTIONS = {name: table for tables in TABLES for name, table in tables.SECTIONS.items()}
TEXTS = [text for section, table in SECTIONS.items() for text in table.texts(section)]


@pytest.fixture(scope="module")
def fastmail() -> Iterator[Fastmail]:
    fastmail = Fastmail()
    yield fastmail
    fastmail.close()


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fastmail-") as parent:
        Path(parent).chmod(0o755)
        directory = Path(parent) / "site"
        directory.mkdir()
        lay_out(directory)
        yield directory


def _compare(name: str, theirs: Verdict, ours: Verdict) -> None:
    if directive := removed(theirs):
        assert f'unknown directive "{directive}"' not in ours.output
        return
    expected = intended(name) or everywhere(theirs)
    assert str(expected) != str(theirs) or name not in names(), "the difference is none"
    assert str(ours) == str(expected)


@pytest.mark.parametrize("text", [pytest.param(text, id=f"{text.section}: {text.name}") for text in TEXTS])
def test_configuration(text: Text, directory: Path, fastmail: Fastmail) -> None:
    write(directory, text.level, text.text.replace("SITE", str(directory)))
    arguments = ["-t", "-p", str(directory), "-c", "n.conf", "-e", "boot.log"]
    _compare(text.name, nginx(directory, arguments), fastmail.run(directory, arguments))


@pytest.mark.parametrize("words", [pytest.param(words, id=" ".join(words)[:80]) for words in COMMANDS])
def test_command_line(words: tuple[str, ...], directory: Path, fastmail: Fastmail) -> None:
    arguments = [word.replace("DIR", str(directory)) for word in words]
    _compare(" ".join(words), nginx(directory, arguments), fastmail.run(directory, arguments))


def test_differences_name_cases() -> None:
    cases = {text.name for text in TEXTS} | {" ".join(words) for words in COMMANDS}
    assert len(set(names())) == len(list(names()))
    assert not set(names()) - cases
    assert all(row.reason for row in DIFFERENCES)
    assert all(("older nginx" in row.reason) == (row.until != NO_VERSION) for row in DIFFERENCES)
