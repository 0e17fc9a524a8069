"""What the container recipe copies is there, and is all that a build needs."""

import tomllib
from itertools import chain
from pathlib import Path

from support.installation import PACKAGING


def test_what_is_copied_exists() -> None:
    ignored = (PACKAGING / "Containerfile.dockerignore").read_text().splitlines()
    for line in ignored:
        assert not line.startswith("!") or (PACKAGING.parent / line[1:]).exists(), line


def test_all_that_is_installed_is_copied() -> None:
    ignored = (PACKAGING / "Containerfile.dockerignore").read_text().splitlines()
    copied = [line[1:] for line in ignored if line.startswith("!")]
    project = tomllib.loads((PACKAGING.parent / "pyproject.toml").read_text())
    for file in chain(*project["tool"]["setuptools"]["data-files"].values()):
        assert any(Path(file).is_relative_to(path) for path in copied), file
