"""How this machine is switched from nginx to fastmail, and back: commands for the operator's shell."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass

from fastmail.config import FASTMAIL, Configuration
from fastmail.server import upgrade

Section = tuple[str, str]

UNIT = "fastmail.service"
SOCKET = "fastmail.socket"
UNIT_LOG = "/var/log/fastmail/error.log"
"""In the only directory that the unit lets the workers write to."""

_UNIT_DIRECTORIES = (
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_BOOTED = "/run/systemd/system"  # sd_booted(3)
_PLAIN = re.compile(r"[^\s;{}\"'\\#$]+")


@dataclass(frozen=True)
class Machine:
    """What is installed here. ``program`` and ``nginx`` are words for a shell."""

    program: str
    nginx: str
    nginx_prefix: str | None  # None: nginx is not there, or does not say
    unit: bool  # fastmail.service is there, and systemd runs
    socket: bool  # so is fastmail.socket

    @classmethod
    def here(cls) -> Machine:
        command = upgrade.own_command()
        nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        return cls(
            program=shlex.join(command[: len(command) - len(sys.argv) + 1]),
            nginx=shlex.quote(nginx or "nginx"),
            nginx_prefix=_built_in_prefix(nginx) if nginx else None,
            unit=_installed(UNIT),
            socket=_installed(SOCKET),
        )


@dataclass(frozen=True)
class _Side:
    """The commands by which a proxy takes mail, and leaves it."""

    take: tuple[str, ...]
    leave: tuple[str, ...]


def instructions(configuration: Configuration, here: Machine, addition: str = "") -> list[Section]:
    """What to do before, the two commands, and what to know about them.

    ``addition`` is a directive for the mail block, if that becomes a file that nginx does not read.

    Raises PermissionError when it may not be seen whether nginx runs.
    """
    pid = _running(configuration.main["pid"])
    unit = _unit_of(pid) if pid is not None else None
    conf, before = configuration.path, []
    if not _others(configuration):
        nginx = _stopped(configuration, here, pid, unit)
    else:
        block = _mail_block(configuration)
        if block is None:
            place = configuration.scope.blocks["mail"][0].place
            return [("Before", _indented([text.format(place=place) for text in _NOT_ALONE]))]
        conf = os.path.join(os.path.dirname(conf), "fastmail.conf")
        before = _division(configuration, block, conf, addition)
        nginx = _reloaded(configuration, here, pid, unit, block[0])
    if here.unit:
        before += _drop_in(configuration, conf)
        fastmail = _units(here)
    else:
        command = f"{here.program} {_arguments(configuration, conf)}"
        fastmail = _Side((command,), (f"{command} -s quit",))
    sections = {
        "Before (what is served does not change)": before,
        "Switch over": [" && ".join([*nginx.leave, *fastmail.take])],
        "Switch back": [" && ".join([*fastmail.leave, *nginx.take])],
        "Note": _notes(configuration, here, pid, unit, conf),
    }
    return [(title, _indented(lines)) for title, lines in sections.items() if lines]


_NOT_ALONE = (
    "nginx is to go on without its mail block, which begins at {place} and has no lines of its own.",
    'Put "mail {{" and its closing "}}" on lines of their own, then run this again.',
)


def _notes(
    configuration: Configuration, here: Machine, pid: int | None, unit: str | None, conf: str
) -> list[str]:
    main = configuration.main
    others = _others(configuration)
    notes = [f"nginx keeps {' and '.join(others)}."] if others else []
    if others and os.path.lexists(conf):
        notes.append(f"{conf} is there already: the first command writes it anew.")
    if pid is None:
        notes.append(f"nginx does not run: there is no process of it in {main['pid']}.")
    if unit is not None and not here.unit:
        notes.append(f"{UNIT} is not installed: nothing starts fastmail at the next boot.")
    if here.unit and here.socket:
        notes.append(f"{SOCKET} is switched off: it takes addresses of its own, and keeps them from nginx.")
    if not (main["daemon"] or here.unit):
        notes.append('With "daemon off" a command that starts a proxy goes on until the proxy ends.')
    return notes


def _others(configuration: Configuration) -> list[str]:
    """What nginx has to do besides mail."""
    return [f"{one.words[0]} {{}}" for one in configuration.ignored if one.block]


def _stopped(configuration: Configuration, here: Machine, pid: int | None, unit: str | None) -> _Side:
    """nginx does nothing but mail: it ends, and starts again."""
    if pid is None:
        return _Side((), ())
    if unit is not None:
        return _Side((f"systemctl enable --now {unit}",), (f"systemctl disable --now {unit}",))
    command = _nginx(configuration, here)
    return _Side((command,), (f"{command} -s quit",))


def _reloaded(
    configuration: Configuration, here: Machine, pid: int | None, unit: str | None, source: str
) -> _Side:
    """nginx goes on: it gets a file without mail, and the one with mail back."""
    without, both = _copies(configuration.path, source)
    file = shlex.quote(source)
    reload: tuple[str, ...] = ()
    if pid is not None:
        command = f"systemctl reload {unit}" if unit else f"{_nginx(configuration, here)} -s reload"
        reload = (command,)
    return _Side((f"cp {both} {file}", *reload), (f"cp {without} {file}", *reload))


def _nginx(configuration: Configuration, here: Machine) -> str:
    prefix = configuration.prefix
    own = os.path.normpath(here.nginx_prefix or prefix) != os.path.normpath(prefix)
    return f"{here.nginx} {f'-p {shlex.quote(prefix)} ' if own else ''}-c {shlex.quote(configuration.path)}"


def _arguments(configuration: Configuration, conf: str) -> str:
    words = ["-p", configuration.prefix, "-c", conf, "--pid", FASTMAIL.pid, "--error-log", FASTMAIL.error_log]
    return shlex.join(words)


# A file that nginx shares with other blocks


def _mail_block(configuration: Configuration) -> tuple[str, int, int] | None:
    """The file of the mail block, its first and its last line; None if it shares them with something else."""
    scope = configuration.scope.blocks["mail"][0]
    (file, first), (end_file, last) = (place.rsplit(":", 1) for place in (scope.place, scope.end))
    lines = next(content for name, content in configuration.files if name == file).split(b"\n")
    begins = re.match(rb"\s*mail\s*\{", lines[int(first) - 1])
    ends = re.fullmatch(rb"\s*\}\s*(#.*)?", lines[int(last) - 1])
    return (file, int(first), int(last)) if file == end_file and begins and ends else None


def _copies(path: str, source: str) -> tuple[str, str]:
    """Copies of a file without and with its mail block, as words for a shell: beside the main file, where no
    pattern of an ``include`` finds them."""
    base = os.path.join(os.path.dirname(path), os.path.basename(source))
    return shlex.quote(f"{base}.without-mail"), shlex.quote(f"{base}.with-mail")


def _division(
    configuration: Configuration, block: tuple[str, int, int], conf: str, addition: str
) -> list[str]:
    """Make the mail block a configuration of its own, and the copies."""
    source, first, last = block
    without, both = _copies(configuration.path, source)
    file = shlex.quote(source)
    kept = [_statement(words) for words in configuration.scope.statements if words[0] != "pid"]
    events = [_statement(words) for words in configuration.scope.blocks["events"][0].statements]
    lines = [*kept, f"events {{ {' '.join(events)} }}"]
    head = " ".join(shlex.quote(line) for line in lines)
    copy = f"sed -n {first},{last}p {file}"
    if addition:
        copy = f"sed -n '{first}s/{{/{{ {addition}/; {first},{last}p' {file}"
    return [
        f"{{ printf '%s\\n' {head}; {copy}; }} >{shlex.quote(conf)}",
        f"cp -p {file} {both}",
        f"sed {first},{last}d {file} >{without}",
    ]


def _statement(words: list[str]) -> str:
    """As a configuration has it: what is not plain is quoted."""
    return " ".join(word if _PLAIN.fullmatch(word) else _quoted(word) for word in words) + ";"


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# systemd


def _installed(unit: str) -> bool:
    return os.path.isdir(_BOOTED) and any(os.path.exists(f"{at}/{unit}") for at in _UNIT_DIRECTORIES)


def _units(here: Machine) -> _Side:
    """The service alone: with its socket unit active a client would start it, and nginx could not listen."""
    if not here.socket:
        return _Side((f"systemctl enable --now {UNIT}",), (f"systemctl disable --now {UNIT}",))
    return _Side(
        (f"systemctl disable --now {SOCKET}", f"systemctl enable --now {UNIT}"),
        (f"systemctl disable --now {SOCKET} {UNIT}",),
    )


def _drop_in(configuration: Configuration, conf: str) -> list[str]:
    """Tell the unit which file it serves, and let it write where that says."""
    directory = f"/etc/systemd/system/{UNIT}.d"
    lines = [
        "[Service]",
        f'Environment="CONF={conf}" "OPTIONS=-p {configuration.prefix} --error-log {UNIT_LOG}"',
        *(f"ReadWritePaths=-{path}" for path in sorted(_written(configuration))),
    ]
    head = " ".join(shlex.quote(line) for line in lines)
    return [
        f"mkdir -p {directory}",
        f"printf '%s\\n' {head} >{directory}/migrate.conf",
        "systemctl daemon-reload",
    ]


def _written(configuration: Configuration) -> set[str]:
    """Directories of the files that servers make: logs of their own, unix sockets."""
    main = configuration.error_log
    logs = [log for server in configuration.servers for log in server.error_log if log not in main]
    paths = [log.path for log in (*logs, *configuration.mail_error_log) if log.path.startswith("/")]
    listens = [listen for server in configuration.servers for listen in server.listens]
    paths += [listen.address for listen in listens if isinstance(listen.address, str)]
    return {os.path.dirname(path) for path in paths}


def _unit_of(pid: int) -> str | None:
    """The systemd service that a process belongs to, if systemd runs."""
    if not os.path.isdir(_BOOTED):
        return None
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            found = re.search(r"/system\.slice/(?:.*/)?([^/]+\.service)$", file.read(), re.MULTILINE)
    except OSError:
        return None
    return found[1] if found else None


# nginx


def _running(pid_path: str) -> int | None:
    """The master whose process id is in this file. None: none is, or another process has got its number.

    Raises PermissionError.
    """
    try:
        with open(pid_path, "rb") as file:
            pid = int(file.read(21))
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return pid if b"master process" in file.read() else None
    except PermissionError:
        raise
    except (OSError, ValueError):
        return None


def _built_in_prefix(nginx: str) -> str | None:
    try:
        done = subprocess.run([nginx, "-V"], capture_output=True, text=True, errors="replace", timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"--prefix=(\S+)", done.stderr)
    return found[1] if found else None


def _indented(lines: list[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)
