"""The pid file, in a directory that others may write to."""

import os
from pathlib import Path

import pytest

from fastmail.logs import Log
from fastmail.server import StartFailed, pidfile


@pytest.mark.skipif(os.getuid() != 0, reason="only root must not follow the links of others")
def test_link_of_another_user_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    link = tmp_path / "pid"
    link.symlink_to(precious)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    with pytest.raises(StartFailed, match=r"failed \(40: Too many levels of symbolic links\)"):
        pidfile.write(str(link), "1\n")
    assert precious.read_text() == "mine"


def test_fifo_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    os.mkfifo(path)
    assert pidfile.read(str(path), Log()) is None
    pidfile.remove(str(path), Log())
