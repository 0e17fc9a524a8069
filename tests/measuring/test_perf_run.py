"""perf/run: that it measures, says why it cannot, and leaves nothing behind. No figure is judged."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.processes import ROOT, wait_for

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SMALL = ("--rounds=1", "--slice=0.05", "--scenario=logins", "--protocols=imap")


def heeded() -> None:
    """Also where the tests run under nohup(1), or in the background."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def launch(place: Path, *arguments: str) -> "subprocess.Popen[str]":
    """perf/run without its ci/setup, begun in a directory that has another "fastmail"."""
    (place / "fastmail").mkdir()
    (place / "fastmail/__init__.py").write_text("raise ImportError('another fastmail')\n")
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # a sanitizer
    return subprocess.Popen(
        [ROOT / "perf/network", ROOT / ".venv/bin/python", "-m", "harness", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=place,
        env={**environment, "PYTHONPATH": f"{ROOT}/perf", "TMPDIR": str(place)}, preexec_fn=heeded,
    )  # fmt: skip


def run(place: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    process = launch(place, *arguments)
    out, words = process.communicate(timeout=60)
    assert not left(place)
    return subprocess.CompletedProcess(arguments, process.returncode, out, words)


def left(place: Path) -> list[str]:
    """Files in the directory and processes that were started there."""
    found = [path.name for path in place.iterdir() if path.name != "fastmail"]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(place) in command:
            found.append(command.decode())
    return found


def test_it_measures_both(place: Path) -> None:
    """fastmail as packaged, of which something is asked, and beside it with nginx's exact bytes and tuned."""
    done = run(place, *SMALL)
    assert done.returncode == 0, done.stderr
    asked, _, rest = done.stdout.partition("with nothing asked")
    beside, _, spread = rest.partition("Medians and spread")
    title = "processor time per IMAP login  "
    assert [line.split("  ")[1] for line in asked.splitlines() if line.startswith(title)] == ["fastmail"]
    assert [line.split("  ")[1] for line in beside.splitlines() if line.startswith(title)][:2] == [
        "fastmail, nginx's exact bytes", "fastmail, tuned",
    ]  # fmt: skip
    assert spread.count("/s, worker ") == 4


def test_one_setting_of_fastmail_alone(place: Path) -> None:
    done = run(place, *SMALL, "--keepalive=1")
    assert done.returncode == 0, done.stderr
    title = "processor time per IMAP login"
    compared = next(line for line in done.stdout.splitlines() if line.startswith(title))
    assert compared.count(" µs") == 2
    spread = done.stdout.partition("Medians and spread")[2]
    assert spread.count("/s, worker ") == 2


def test_what_fails_is_said_with_the_proxys_own_words(place: Path) -> None:
    done = run(place, *SMALL, "--keepalive=-1")
    assert done.returncode == 1
    assert "perf/run: fastmail has ended instead of greeting:" in done.stderr.splitlines()
    assert '"auth_http_keepalive" directive invalid number' in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nginx=/nowhere/nginx"], "perf/run: /nowhere/nginx is not there, or no program"),
        (["--proxy-core=9999"], "perf/run: cannot run on core 9999: there are "),
        (["--auth=loadgen"], "perf/run: --auth loadgen: a storm has two load generators; "),
        (["--write=/nowhere/page.md"], 'argument --write: "/nowhere/page.md" is a directory, or in none'),
        (["--protocols=imap,nntp"], 'argument --protocols: no "nntp"; there are imap, pop3, smtp'),
        (["--rounds=0"], 'argument --rounds: "0" is not a number of at least 1'),
        (["--slice=x"], 'argument --slice: "x" is not a time between 0.01 and 3600 seconds'),
    ],
)
def test_wrong_set_up_is_said_before_anything_is_measured(
    place: Path, arguments: list[str], words: str
) -> None:
    done = run(place, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("number", SIGNALS)
def test_interrupted_it_stops_what_it_started(place: Path, number: signal.Signals) -> None:
    process = launch(place, "--scenario=logins", "--protocols=imap")
    assert process.stderr is not None
    assert "processor time per IMAP login" in process.stderr.readline()
    process.send_signal(number)
    out, words = process.communicate(timeout=60)
    assert (process.returncode, out, words) == (130, "", "perf/run: interrupted\n")
    wait_for("the end of all", lambda: not left(place))
