"""Options and fixtures of all tests."""

import pytest
from support.proxy import KINDS


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--proxy",
        choices=KINDS,
        default="fastmail",
        help="the proxy under test; nginx shows whether the tests ask for what nginx does",
    )


@pytest.fixture(scope="session")
def proxy_kind(request: pytest.FixtureRequest) -> str:
    """``fastmail`` or ``nginx``, for support.proxy.Proxy."""
    kind: str = request.config.getoption("--proxy")
    return kind
