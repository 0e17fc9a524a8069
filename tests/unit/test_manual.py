"""The manual pages are current, complete, and without faults for the programs that show them."""

import re
import subprocess
from pathlib import Path

import pytest
from support.certificate import Certificate
from support.documents import assert_current

from fastmail.cli import COMMANDS, OPTIONS
from fastmail.config import load
from fastmail.config.directives import TABLE
from fastmail.manual import DIRECTORY, EXAMPLE, PAGES

pages = pytest.mark.parametrize("name", PAGES)


def shown(name: str) -> str:
    """The page as man(1) shows it, without a line's end anywhere."""
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", DIRECTORY / name],
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "1000", "MAN_KEEP_FORMATTING": ""},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return re.sub(r"\s+", " ", done.stdout)


@pages
def test_page_is_current(name: str) -> None:
    page = (DIRECTORY / name).read_text(encoding="ascii")
    date = re.search(r'^\.TH \S+ \d "(\d{4}-\d\d-\d\d)"', page, re.MULTILINE)
    assert date is not None
    assert_current(DIRECTORY / name, PAGES[name](date[1]), "fastmail.manual")


@pages
def test_mandoc_has_nothing_to_say(name: str) -> None:
    done = subprocess.run(["mandoc", "-T", "lint", DIRECTORY / name], capture_output=True, text=True)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


def test_program_page_has_every_option() -> None:
    text = shown("fastmail.8")
    for name in [*OPTIONS, *COMMANDS]:
        assert f" {name} " in text


def test_configuration_page_has_every_directive() -> None:
    text = shown("fastmail.conf.5")
    for name, directive in TABLE.items():
        assert f" {name} " in text
        assert re.sub(r"[`\s]+", " ", directive.text[:40].rpartition(" ")[0].replace("`", "")) in text


def test_example_can_be_used(tmp_path: Path) -> None:
    assert re.sub(r"\s+", " ", EXAMPLE.strip()) in shown("fastmail.conf.5")
    certificate = Certificate(tmp_path)
    text = EXAMPLE.replace("/etc/ssl/mail.example.com.crt", str(certificate.path))
    text = text.replace("/etc/ssl/mail.example.com.key", str(certificate.key))
    (tmp_path / "fastmail.conf").write_text(text)
    configuration = load("fastmail.conf", prefix=str(tmp_path))
    configuration.check()
    assert [level for level, _ in configuration.messages if level != "warn"] == []
    assert [server["protocol"] for server in configuration.servers] == ["imap", "smtp"]
