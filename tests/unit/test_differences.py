"""docs/differences.md and what ``fastmail migrate`` says of it come from one table."""

import re
from pathlib import Path

import pytest
from support.documents import assert_current

from fastmail import config
from fastmail.migrate import differences
from fastmail.migrate.report import different

PAGE = Path(__file__).parents[2] / "docs" / "differences.md"

IMAP = "server { listen 127.0.0.1:1143; protocol imap; }"
SMTP = "server { listen 127.0.0.1:1025; protocol smtp; %s }"


def test_page_is_what_the_table_says() -> None:
    assert_current(PAGE, differences.render(), "fastmail.migrate.differences")


def said(directory: Path, servers: str, main: str = "") -> str:
    path = directory / "nginx.conf"
    path.write_text(f"{main} events {{ }} mail {{ auth_http 127.0.0.1:9/; {servers} }}")
    configuration = config.load(str(path), prefix=str(directory))
    return re.sub(r"\s+", " ", different(configuration))


@pytest.mark.parametrize(
    ("words", "servers", "main"),
    [
        ("IMAP logins come in one line", IMAP, ""),
        ("in XCLIENT is xtext", SMTP % "", ""),
        ("A PROXY header may come in pieces", IMAP.replace(";", " proxy_protocol;", 1), ""),
        ("A question goes out from a port", SMTP % "resolver 127.0.0.1;", ""),
        ("After a refusal with", IMAP.replace("}", "proxy_pass_error_message on; }"), ""),
        ("loads nothing", IMAP, "load_module x.so;"),
        ("Blocks of other modules", IMAP, "http { }"),
        ("USR2 with", IMAP, "daemon off;"),
    ],
)
def test_what_matters(tmp_path: Path, words: str, servers: str, main: str) -> None:
    assert words in said(tmp_path, servers, main)
    without = IMAP if servers != IMAP or main else SMTP % "xclient off;"
    assert words not in said(tmp_path, without)


def test_additions_are_no_difference_for_nginxs_configurations(tmp_path: Path) -> None:
    assert "addition" not in said(tmp_path, IMAP + SMTP % "")
