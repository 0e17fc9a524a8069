"""Every dialogue in docs/ is what fastmail, set up as the page says, and its peers do say."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from support.certificate import Certificate
from support.dialogue import Stage
from support.documents import PAGES, Block, blocks
from support.network import own_network
from support.processes import ROOT, USER
from support.proxy import Proxy

BACKENDS = (10143, 10110, 10025)


@dataclass(frozen=True)
class Case:
    page: Path
    configuration: str
    block: Block
    """Its fence says ``dialogue PORT [tls]``."""
    log: str
    """The block after it, if that is a log."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.block.line}"


def cases() -> Iterator[Case]:
    for page in PAGES:
        configuration = ""
        for block, after in pairwise([*blocks(page), Block(0, "", "")]):
            if block.language == "nginx" and "mail {" in block.text and not configuration:
                configuration = block.text
            elif block.language.startswith("dialogue "):
                yield Case(page, configuration, block, after.text if after.language == "log" else "")


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_dialogue(case: Case, tmp_path: Path) -> None:
    certificate = Certificate(tmp_path)
    text = case.configuration.replace("/etc/ssl/mail.example.com.crt", str(certificate.path))
    text = text.replace("/etc/ssl/mail.example.com.key", str(certificate.key))
    mail = text.partition("mail {")[2].rpartition("}")[0]
    port = int(case.block.language.split()[1])
    tls = case.block.language.endswith(" tls")
    with own_network(), Proxy("fastmail", mail, [port], main=USER) as proxy:
        with Stage(port, BACKENDS, certificate.path, tls=tls) as stage:
            stage.play(case.block.text)
        for line in case.log.splitlines():
            proxy.wait_log("^" + re.sub(r"\d+", r"\\d+", re.escape(line)) + "$")  # whatever its numbers
