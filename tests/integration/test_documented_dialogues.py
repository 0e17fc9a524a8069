"""Every dialogue in docs/ is what fastmail, set up as the page says, and its peers do say."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.certificate import Certificate
from support.dialogue import Stage
from support.documents import PAGES, Block, blocks
from support.network import own_network
from support.processes import ROOT, USER
from support.proxy import Proxy

BACKENDS = (10143, 10110, 10025)


def dialogues() -> Iterator[tuple[str, str, Block]]:
    """Page, the page's configuration, and the dialogue. Its fence says ``dialogue PORT [tls]``."""
    for page in PAGES:
        configuration = ""
        for block in blocks(page):
            if block.language == "nginx" and "mail {" in block.text and not configuration:
                configuration = block.text
            elif block.language.startswith("dialogue "):
                yield str(page.relative_to(ROOT)), configuration, block


CASES = list(dialogues())


@pytest.mark.parametrize(
    ("configuration", "block"),
    [case[1:] for case in CASES],
    ids=[f"{page}:{block.line}" for page, _, block in CASES],
)
def test_dialogue(configuration: str, block: Block, tmp_path: Path) -> None:
    certificate = Certificate(tmp_path)
    text = configuration.replace("/etc/ssl/mail.example.com.crt", str(certificate.path))
    text = text.replace("/etc/ssl/mail.example.com.key", str(certificate.key))
    mail = text.partition("mail {")[2].rpartition("}")[0]
    port = int(block.language.split()[1])
    with (
        own_network(),
        Proxy("fastmail", mail, [port], main=USER),
        Stage(port, BACKENDS, certificate.path, tls=block.language.endswith(" tls")) as stage,
    ):
        stage.play(block.text)
