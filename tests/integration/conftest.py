"""Fixtures of the tests that drive fastmail as an operator does."""

from collections.abc import Iterator

import pytest
from support.authserver import AuthServer, Request, answer
from support.door import Door
from support.listener import Moves
from support.pki import PKI
from support.ports import reserve
from support.processes import Echo, Site


@pytest.fixture
def site() -> Iterator[Site]:
    """An installation that is ended and removed afterwards."""
    site = Site()
    yield site
    site.close()


@pytest.fixture
def port() -> int:
    """A port that nothing listens on."""
    return reserve()


@pytest.fixture
def backend() -> Iterator[Echo]:
    with Echo() as backend:
        yield backend


@pytest.fixture
def auth(backend: Echo) -> Iterator[AuthServer]:
    """An auth server that sends everybody to ``backend``."""

    def judge(request: Request) -> Moves:
        return (answer("OK", port=backend.port),)

    with AuthServer(judge) as auth:
        yield auth


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PKI:
    return PKI(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def door(site: Site, auth: AuthServer, port: int, pki: PKI) -> Door:
    """Where a fastmail with TLS is opened."""
    return Door(site, auth, port, pki)
