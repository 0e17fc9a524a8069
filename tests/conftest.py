"""Options and fixtures of all tests."""

import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support import ports
from support.proxy import KINDS

DESCRIPTORS = 20_000


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--proxy",
        choices=KINDS,
        default="fastmail",
        help="the proxy under test; nginx shows whether the tests ask for what nginx does",
    )


def pytest_configure(config: pytest.Config) -> None:
    # How fast the machine is decides nothing, nor does chance: ci/fuzz and ci/luck look for new examples.
    chosen = config.getoption("--hypothesis-seed") is not None
    settings.register_profile(
        "tests", deadline=None, derandomize=not chosen, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("tests")
    # Both ends of some hundred sessions are more descriptors than a login shell allows.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, hard), hard))


@pytest.fixture(scope="module", autouse=True)
def released_ports() -> Iterator[None]:
    """What the tests of a module have reserved is given back behind them."""
    yield
    ports.release()


@pytest.fixture(scope="session")
def proxy_kind(request: pytest.FixtureRequest) -> str:
    """``fastmail`` or ``nginx``, for support.proxy.Proxy."""
    kind: str = request.config.getoption("--proxy")
    return kind


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that workers of another user can look into, which they cannot with tmp_path."""
    path = Path(tempfile.mkdtemp(prefix="fastmail-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
