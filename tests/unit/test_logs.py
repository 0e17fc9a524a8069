"""fastmail.logs: nginx's line, levels, and files that change behind a fixed descriptor."""

import contextlib
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.syslog import Addresses

from fastmail import logs
from fastmail.config import ErrorLog
from fastmail.config.error_log import SyslogServer
from fastmail.logs import ALERT, DEBUG, EMERG, ERROR, INFO, NOTICE, WARN, Log, LogFiles


@pytest.fixture
def files() -> Iterator[LogFiles]:
    files = LogFiles()
    yield files
    files.close()


def open_log(files: LogFiles, *wanted: tuple[Path, int], console: str | None = None) -> Log:
    return Log(files.targets(ErrorLog(str(path), level) for path, level in wanted), console=console)


def test_line_has_nginx_s_form(tmp_path: Path, files: LogFiles) -> None:
    path = tmp_path / "error.log"
    before = time.strftime("%Y/%m/%d %H:%M:%S")
    open_log(files, (path, NOTICE)).notice("exiting")
    text = path.read_text()
    assert re.fullmatch(rf"\d{{4}}/\d\d/\d\d \d\d:\d\d:\d\d \[notice\] {os.getpid()}#0: exiting\n", text)
    assert before <= text[:19] <= time.strftime("%Y/%m/%d %H:%M:%S")


def test_line_is_cut_at_2048_bytes(tmp_path: Path, files: LogFiles) -> None:
    path = tmp_path / "error.log"
    log = open_log(files, (path, NOTICE))
    log.notice("x" * 5000)
    log.notice("next")
    first, second = path.read_bytes().splitlines(keepends=True)
    assert len(first) == 2048 and first.endswith(b"xx\n")
    assert second.endswith(b": next\n")


def test_bytes_of_the_configuration_come_out_as_they_went_in(tmp_path: Path, files: LogFiles) -> None:
    path = tmp_path / "error.log"
    open_log(files, (path, EMERG)).emerg(b"caf\xe9".decode(errors="surrogateescape"))
    assert path.read_bytes().endswith(b": caf\xe9\n")


def test_each_target_gets_its_level_and_what_is_worse(tmp_path: Path, files: LogFiles) -> None:
    few, many = tmp_path / "few", tmp_path / "many"
    log = open_log(files, (few, ERROR), (many, INFO))
    for level in (EMERG, ALERT, ERROR, WARN, NOTICE, INFO, DEBUG):
        log.log(level, "m")
    levels = [re.findall(r"\[(\w+)\]", path.read_text()) for path in (few, many)]
    assert levels == [["emerg", "alert", "error"], ["emerg", "alert", "error", "warn", "notice", "info"]]


def test_errno_ends_the_message(tmp_path: Path, files: LogFiles) -> None:
    path = tmp_path / "error.log"
    open_log(files, (path, EMERG)).emerg(
        'open() "x" failed', FileNotFoundError(2, "No such file or directory")
    )
    assert path.read_text().endswith(': open() "x" failed (2: No such file or directory)\n')


def test_one_path_is_one_descriptor(tmp_path: Path, files: LogFiles) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    targets = open_log(files, (path, ERROR), (other, ERROR), (path, INFO)).targets()
    again = files.targets([ErrorLog(str(path), DEBUG)])
    assert targets[0][0] == targets[2][0] == again[0][0] != targets[1][0]
    assert [level for _, level in targets] == [ERROR, ERROR, INFO]


def test_stderr_is_descriptor_2(files: LogFiles) -> None:
    assert files.targets([ErrorLog("stderr", WARN)]) == [(2, WARN)]


def test_descriptors_are_closed_on_exec(tmp_path: Path, files: LogFiles) -> None:
    path = tmp_path / "error.log"
    log = open_log(files, (path, NOTICE))
    ((fd, _),) = log.targets()
    assert not os.get_inheritable(fd)
    files.reopen(log)
    assert not os.get_inheritable(fd)


def test_reopening_puts_a_new_file_behind_the_old_descriptor(tmp_path: Path, files: LogFiles) -> None:
    path, moved = tmp_path / "error.log", tmp_path / "error.log.1"
    log = open_log(files, (path, NOTICE))
    targets = log.targets()
    log.notice("before")
    path.rename(moved)
    log.notice("between")
    files.reopen(log)
    log.notice("after")
    assert log.targets() == targets
    assert [line.split(": ")[1] for line in moved.read_text().splitlines()] == ["before", "between"]
    assert path.read_text().endswith(": after\n")
    assert path.stat().st_mode & 0o777 == 0o644 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_file_that_cannot_be_reopened_stays(tmp_path: Path, files: LogFiles) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    path = directory / "error.log"
    log = open_log(files, (path, NOTICE))
    moved = tmp_path / "gone"
    directory.rename(moved)
    files.reopen(log)
    log.notice("still here")
    lines = (moved / "error.log").read_text().splitlines()
    assert lines[0].endswith(
        f'[emerg] {os.getpid()}#0: open() "{path}" failed (2: No such file or directory)'
    )
    assert lines[1].endswith(": still here")


def test_reopened_file_belongs_to_the_workers(tmp_path: Path, files: LogFiles) -> None:
    path = tmp_path / "error.log"
    log = open_log(files, (path, NOTICE))
    path.chmod(0o044)
    owner = 65534 if os.getuid() == 0 else os.getuid()
    files.reopen(log, owner)
    status = path.stat()
    assert status.st_uid == owner
    assert status.st_mode & 0o777 == 0o644


def test_warnings_are_shown_on_the_console_while_starting(
    tmp_path: Path, files: LogFiles, capfd: pytest.CaptureFixture[str]
) -> None:
    log = open_log(files, (tmp_path / "error.log", NOTICE), console="nginx")
    log.warn("careful")
    log.notice("quiet")
    log.console = None
    log.emerg("nobody looks")
    assert capfd.readouterr().err == "nginx: [warn] careful\n"


def test_a_log_on_stderr_is_not_echoed_there(capfd: pytest.CaptureFixture[str]) -> None:
    logs.bootstrap("stderr", "fastmail").emerg("once")
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith(f"[emerg] {os.getpid()}#0: once")


def test_bootstrap_log_is_written_and_echoed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "boot.log"
    log = logs.bootstrap(str(path), "fastmail")
    log.emerg("twice")
    log.notice("for the file")
    os.close(log.targets()[0][0])
    assert capfd.readouterr().err == "fastmail: [emerg] twice\n"
    assert [line.split(": ")[1] for line in path.read_text().splitlines()] == ["twice", "for the file"]


def test_bootstrap_log_that_cannot_be_opened_gives_way_to_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "missing" / "boot.log"
    logs.bootstrap(str(path), "nginx").notice("here")
    first, second = capfd.readouterr().err.splitlines()
    assert first == (
        f'nginx: [alert] could not open error log file: open() "{path}" failed (2: No such file or directory)'
    )
    assert second.endswith("#0: here")


def test_redirected_stderr_lands_in_the_first_file(
    tmp_path: Path, files: LogFiles, preserve_stderr: Callable[[], None]
) -> None:
    path = tmp_path / "error.log"
    open_log(files, (path, ERROR), (tmp_path / "second", ERROR)).redirect_stderr()
    os.write(2, b"from a library\n")
    preserve_stderr()
    assert path.read_text() == "from a library\n"


@pytest.fixture
def preserve_stderr() -> Iterator[Callable[[], None]]:
    saved = os.dup(2)

    def restore() -> None:
        os.dup2(saved, 2)

    yield restore
    restore()
    os.close(saved)


# Logs that do not take what is written


def held(fd: int) -> int:
    """Fill a pipe or a socket until it takes no more; how many bytes that were."""
    os.set_blocking(fd, False)
    total = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            total += os.write(fd, b"x" * 512)
    os.set_blocking(fd, True)
    return total


def test_full_pipe_is_not_waited_for(files: LogFiles) -> None:
    """It is another's as well, and must go on blocking for that one."""
    reader, writer = os.pipe()
    full = held(writer)
    log = Log([(writer, NOTICE)])
    for _ in range(3):
        log.notice("lost")
    assert os.get_blocking(writer)
    while full:
        full -= len(os.read(reader, full))
    log.notice("written")
    first, second = os.read(reader, 65536).decode().splitlines()
    assert first.endswith("#0: written")
    assert re.fullmatch(r".* \[alert\] \d+#0: 3 log lines lost \(11: Resource temporarily .*\)", second)
    os.close(reader)
    os.close(writer)


def test_full_socket_is_not_waited_for() -> None:
    """systemd's journal is one."""
    reader, writer = socket.socketpair()
    with reader, writer:
        held(writer.fileno())
        Log([(writer.fileno(), NOTICE)]).notice("lost")
        assert writer.getblocking()


def test_fifo_without_a_reader_keeps_its_lines(tmp_path: Path, files: LogFiles) -> None:
    os.mkfifo(tmp_path / "fifo")
    fd = files.targets([ErrorLog(str(tmp_path / "fifo"), NOTICE)])[0]
    Log([fd]).notice("kept")
    with open(tmp_path / "fifo") as file:
        assert file.readline().endswith("#0: kept\n")


# What others can put in a log's place


@pytest.mark.skipif(os.getuid() != 0, reason="only root opens logs for others")
@pytest.mark.parametrize("part", ["file", "directory"])
def test_links_of_others_are_not_followed(tmp_path: Path, files: LogFiles, part: str) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/log").write_text("mine")
    link = tmp_path / "link"
    if part == "file":
        link.symlink_to("precious/log")
        path = str(link)
    else:
        link.symlink_to("precious")
        path = str(link / "log")
    files.targets([ErrorLog(path, NOTICE)])  # root's own links are as good as any name
    os.chown(link, 65534, 65534, follow_symlinks=False)
    other = LogFiles()
    with pytest.raises(OSError, match="Too many levels of symbolic links") as raised:
        other.targets([ErrorLog(path, NOTICE)])
    assert raised.value.filename == path
    logs = Log(files.targets([ErrorLog(path, NOTICE)]))
    files.reopen(logs, 65534)
    text = (tmp_path / "precious/log").read_text()
    assert text.startswith("mine")
    assert text.endswith(f'open() "{path}" failed (40: Too many levels of symbolic links)\n')
    assert (tmp_path / "precious/log").stat().st_uid == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root opens logs for others")
def test_only_a_log_that_is_nothing_else_is_given_away(tmp_path: Path, files: LogFiles) -> None:
    path = tmp_path / "log"
    files.targets([ErrorLog(str(path), NOTICE)])
    os.link(path, tmp_path / "other name")
    files.reopen(Log(), 65534)
    assert path.stat().st_uid == 0
    (tmp_path / "other name").unlink()
    os.chown(path, 12345, -1)
    files.reopen(Log(), 65534)
    assert path.stat().st_uid == 12345
    path.unlink()
    files.reopen(Log(), 65534)
    assert path.stat().st_uid == 65534


def test_syslog_asks_the_next_address(tmp_path: Path, files: LogFiles) -> None:
    """From the one in use on, and from the first when logs are reopened; each refusal is named once."""
    path = tmp_path / "error.log"
    with Addresses() as server:
        syslog = ErrorLog("syslog:x", NOTICE, SyslogServer(tuple(server.all), 2, "mx: "))
        log = Log(files.targets([ErrorLog(str(path), NOTICE), syslog]), others=files.others)
        log.notice("nobody listens")  # as the two lines find that name the addresses
        server.listen(1)
        log.notice("the second does")
        assert "the second does" in server.receive(1)
        assert "3 log lines lost (111: Connection refused)" in server.receive(1)
        server.refuse(1)
        server.listen(0)
        log.notice("only the first does")
        assert "only the first does" in server.receive(0)
        server.refuse(0)
        server.listen(1)
        log.notice("the second again")
        assert "the second again" in server.receive(1)
        server.listen(0)
        log.notice("still the second")
        assert "still the second" in server.receive(1)
        files.reopen(log)
        log.notice("reopened")
        assert "reopened" in server.receive(0)
    refused = (
        r"\[error\] \d+#0: send\(\) failed \(111: Connection refused\) while logging to syslog, server: "
    )
    named = re.findall(rf"{refused}(127\.0\.0\.\d):{server.port}, trying next address\n", path.read_text())
    assert sorted(named) == ["127.0.0.1", "127.0.0.2"]
