"""A machine of its own for a test: namespaces, in which Debian's systemd is process 1 if it is wanted.

The file system is this machine's, but /run, /tmp, /var/log and /opt are empty (but for what runs the
test, if that lies there), and changes to /etc are gone afterwards; so is the network, of which there is a
loopback device alone. Needs root.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.processes import ROOT, wait_for

_NAMESPACES = "-m -p -n -u -i -C --fork --kill-child --mount-proc"
_UNITS = "/etc/systemd/system"
_PREPARE = """\
set -e
mount --make-rprivate /
keep=${1%%:*}
each() { (IFS=:; n=0; for directory in $2; do n=$((n + 1)); $1 "$directory" /mnt/kept/$n; done) }
away() { mkdir -p "$2"; mount --bind "$1" "$2"; }
back() { mkdir -p "$1"; mount --bind "$2" "$1"; }
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/upper /mnt/work
each away "$1"
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work overlay /etc
for place in /run /var/log /opt; do mount -t tmpfs -o mode=755 tmpfs $place; done
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p /run/lock
each back "$1"
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cp -a "$keep/root/." /
if [ "$2" = without ]; then
    shift 2
    "$1" -m support.loopback
    "$@" >"$keep/output" 2>&1
    exit
fi
container=test exec /lib/systemd/systemd --system --unit=test.target --log-target=null --show-status=0
"""
_TARGET = "[Unit]\nDefaultDependencies=no\nWants=test.service\n"
_SERVICE = """\
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart={command}
ExecStopPost=/bin/sh -c "systemctl exit $EXIT_STATUS"
StandardOutput=file:{keep}/output
StandardError=inherit
WorkingDirectory={root}
"""


def run(test: str, files: Mapping[str, str], *, systemd: bool = True, seconds: float = 100) -> None:
    """Put the files in place, boot, and run a test there (``tests/FILE.py::NAME``).

    Raises AssertionError, with what pytest has printed, if that fails.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{ROOT}/{test}"]
    with tempfile.TemporaryDirectory(prefix="machine-") as name, _cgroup() as cgroup:
        keep = Path(name)
        service = _SERVICE.format(command=" ".join(command), keep=keep, root=ROOT)
        units = {f"{_UNITS}/test.target": _TARGET, f"{_UNITS}/test.service": service}
        place(keep / "root", {**files, **units})
        script = f'echo $$ >{cgroup}/cgroup.procs; exec unshare {_NAMESPACES} sh -c "$@"'
        kept = [name, *dict.fromkeys((str(ROOT), sys.prefix, sys.base_prefix))]
        arguments = [_PREPARE, "sh", ":".join(kept), "with" if systemd else "without", *command]
        done = subprocess.run(
            ["sh", "-c", script, "sh", *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=seconds, env={**os.environ, "PYTHONPATH": f"{ROOT}/tests"},
        )  # fmt: skip
        output = keep / "output"
        said = output.read_text() if output.exists() else f"{done.stdout}{done.stderr}"
        assert done.returncode == 0, said
        assert "1 passed" in said, said


def place(root: Path, files: Mapping[str, str]) -> None:
    """Write the files below ``root``; a script can be executed."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o644)


@contextlib.contextmanager
def _cgroup() -> Iterator[Path]:
    """A control group for the machine, removed with what systemd has made in it."""
    found = re.search(r"^\S+ (\S+) cgroup2 ", Path("/proc/mounts").read_text(), re.MULTILINE)
    assert found is not None, "no cgroup2 file system"
    path = Path(tempfile.mkdtemp(prefix="fastmail-test-", dir=found[1]))
    try:
        yield path
    finally:
        (path / "cgroup.kill").write_text("1")
        wait_for("the machine's end", lambda: "populated 0" in (path / "cgroup.events").read_text())
        for directory, _, _ in os.walk(path, topdown=False):
            os.rmdir(directory)
