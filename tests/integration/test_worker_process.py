"""What the main context's directives make of a worker process."""

import os
import re
import signal
from pathlib import Path

import pytest
from support.authserver import AuthServer
from support.processes import AS_ROOT, NOBODY, USER, Session, Site, imap, opened

from fastmail.server.process import affinity


@pytest.mark.directive("working_directory")
def test_working_directory(site: Site) -> None:
    site.configure(main=f"working_directory {site.directory}/work;")
    (site.directory / "work").mkdir()
    child = site.start()
    (worker,) = site.wait_workers(1)
    assert os.readlink(f"/proc/{worker}/cwd") == f"{site.directory}/work"
    assert os.readlink(f"/proc/{child.pid}/cwd") == str(site.directory)


@pytest.mark.directive("working_directory")
def test_working_directory_that_is_missing(site: Site) -> None:
    site.configure(main="working_directory /missing/directory;")
    child = site.start()
    site.wait_log(r"\[alert\] .* worker process \d+ exited with fatal code 2 and cannot be respawned")
    assert '[alert] chdir("/missing/directory") failed (2: No such file or directory)' in site.messages()
    assert child.poll() is None


@pytest.mark.directive("worker_priority")
def test_priority(site: Site) -> None:
    site.configure(main="worker_priority 7;")
    child = site.start()
    (worker,) = site.wait_workers(1)
    assert os.getpriority(os.PRIO_PROCESS, worker) == 7
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == os.getpriority(os.PRIO_PROCESS, 0)


@pytest.mark.directive("worker_rlimit_core")
def test_core_size(site: Site) -> None:
    site.configure(main="worker_rlimit_core 4k;")
    site.start()
    (worker,) = site.wait_workers(1)
    limits = Path(f"/proc/{worker}/limits").read_text()
    assert re.search(r"^Max core file size\s+4096\s+4096\s", limits, re.M)


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_worker_of_another_user_leaves_a_core(site: Site) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if "/" in pattern or pattern.startswith("|"):
        pytest.skip(f"cores go elsewhere here: {pattern}")
    directory = site.directory / "cores"
    directory.mkdir()
    os.chown(directory, NOBODY, NOBODY)
    site.configure(main=f"{USER} worker_rlimit_core 1g; working_directory {directory};")
    site.start()
    (worker,) = site.wait_workers(1)
    os.kill(worker, signal.SIGABRT)
    site.wait_log(rf"worker process {worker} exited on signal 6 \(core dumped\)$")
    (core,) = directory.iterdir()
    assert core.read_bytes()[:4] == b"\x7fELF"
    assert core.stat().st_uid == NOBODY


def test_no_process_has_an_io_uring(site: Site, auth: AuthServer, port: int) -> None:
    """libuv opens one with each loop unless the kernel has none. The filter that refuses it is gone."""
    site.configure(imap(auth, port))
    master = site.start().pid
    (worker,) = site.wait_workers(1)
    with Session(port) as session:
        session.exchange()
        found = [*opened(master).values(), *opened(worker).values()]
    assert "anon_inode:[eventpoll]" in found
    assert not [target for target in found if "io_uring" in target]
    for task in Path(f"/proc/{worker}/task").iterdir():
        assert re.search(r"^Seccomp:\s+0$", (task / "status").read_text(), re.M)


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_worker_without_core_cannot_be_looked_into(site: Site) -> None:
    """By other processes of its user."""
    site.configure(main=f"{USER} worker_rlimit_core 0;")
    site.start()
    (worker,) = site.wait_workers(1)
    assert Path(f"/proc/{worker}/mem").stat().st_uid == 0


@pytest.mark.directive("worker_cpu_affinity")
def test_processors(site: Site) -> None:
    last = max(os.sched_getaffinity(0))
    mask = "1" + "0" * last
    site.configure(main=f"worker_cpu_affinity {mask};")
    site.start()
    (worker,) = site.wait_workers(1)
    assert os.sched_getaffinity(worker) == {last}
    assert f"[notice] sched_setaffinity(): using cpu #{last}" in site.messages()


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ((), [set(), set()]),
        (("0101",), [{0, 2}, {0, 2}]),
        (("01", "10"), [{0}, {1}, {1}]),
        (("auto",), [{0}, {1}, {2}, {0}]),
        (("auto", "110"), [{1}, {2}, {1}]),
        (("auto", "0"), [set()]),
        (("0",), [set()]),
    ],
)
def test_processors_of_each_worker(masks: tuple[str, ...], expected: list[set[int]]) -> None:
    assert [affinity(masks, number, 3) for number in range(len(expected))] == expected


@pytest.mark.directive("worker_cpu_affinity")
def test_more_workers_than_masks(site: Site) -> None:
    site.configure(main="worker_cpu_affinity 01 01;", workers=3)
    result = site.run("-t")
    assert (
        '[warn] the number of "worker_processes" is not equal to the number of "worker_cpu_affinity" masks, '
        "using last mask for remaining worker processes" in result.stderr
    )


@pytest.mark.directive("lock_file")
def test_lock_file_stays(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port))
    site.start()
    old = site.wait_workers(1)
    site.configure(imap(auth, port), main="lock_file other.lock;")
    site.signal("reload")
    site.wait_log(r'\[emerg\] .* "lock_file" could not be changed, ignored$')
    site.wait_workers(1, besides=old)


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
@pytest.mark.directive("user")
def test_user_changes_with_a_reload(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port), main="user nobody nogroup;")
    site.start()
    old = site.wait_workers(1)
    site.configure(imap(auth, port), main="user daemon daemon;")
    site.signal("reload")
    (worker,) = site.wait_workers(1, besides=old)
    assert re.search(r"^Uid:(\s+1){4}$", Path(f"/proc/{worker}/status").read_text(), re.M)
    with Session(port) as session:
        session.exchange()


@pytest.mark.directive("daemon", "master_process")
def test_what_a_reload_does_not_change(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port))
    child = site.start()
    old = site.wait_workers(1)
    site.configure(imap(auth, port), main="master_process off;")
    os.kill(child.pid, signal.SIGHUP)
    site.wait_workers(1, besides=old)
    assert site.pid == child.pid
