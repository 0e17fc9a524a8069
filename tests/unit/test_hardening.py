"""How the engine is compiled: what a fault in it could be turned into."""

import subprocess
import sys
from pathlib import Path

import pytest

from fastmail import _speedups

ROOT = Path(__file__).parents[2]
ENGINE = Path(_speedups.__file__)


def check(path: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, ROOT / "ci/hardened.py", path, *options], capture_output=True, text=True
    )


def test_engine_is_hardened() -> None:
    done = check(ENGINE, *(["--checked"] if _speedups.CHECKED else []))
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


BARE = [
    "-shared",
    "-fPIC",
    "-O2",
    "-fno-stack-protector",
    "-U_FORTIFY_SOURCE",
    "-Wl,-z,norelro",
    "-Wl,-z,lazy",
]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """Else the check could not fail."""
    source, bare = tmp_path / "bare.c", tmp_path / "bare.so"
    source.write_text("int PyInit__speedups(void) { return 0; }")
    try:
        subprocess.run(["cc", *BARE, "-Wl,-z,execstack", "-o", bare, source], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no C compiler")
    done = check(bare)
    assert done.returncode == 1
    for what in (
        "full RELRO",
        "a stack that cannot be executed",
        "stack-protector",
        "_FORTIFY_SOURCE",
        "-fcf-",
    ):
        assert f"no {what}" in done.stdout.replace("no -fstack", "no stack")
