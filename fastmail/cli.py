"""The command line: nginx's switches, long options for what they lack, and commands of our own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastmail.config import ConfigError, Configuration, Defaults
from fastmail.config.units import milliseconds
from fastmail.logs import STDERR_FD, Log, bootstrap, say, write
from fastmail.server import built_by, built_with, pidfile, product

if TYPE_CHECKING:
    from fastmail.server.cycle import Options

OPTIONS = {
    "-?, -h, --help": "print a summary of the options",
    "-v, --version": "print the version",
    "-V": "print the version and how it was built",
    "-t": "test the configuration",
    "-T": "test the configuration and print its files",
    "-q": "with -t or -T: print errors only",
    "-s signal": "signal the running master: stop, quit, reopen or reload",
    "--wait[=time]": "with -s reload: wait until the new workers serve (60s), fail if they don't",
    "-p prefix": "directory that paths are relative to ({prefix})",
    "-e filename": 'log used while starting, or "stderr" ({error_log})',
    "-c filename": "configuration file, relative to the prefix ({conf})",
    "-g directives": "directives of the main context, read before the file",
    "--pid filename": 'use this instead of the configuration\'s "pid"',
    "--error-log filename": 'use this instead of the main context\'s "error_log"',
}
"""What usage and the manual say of each; the names in braces are attributes of Defaults."""

SYNOPSIS = (
    "[-?hvVtTq] [-s signal] [--wait[=time]] [-p prefix] [-e filename]",
    "[-c filename] [-g directives] [--pid filename] [--error-log filename]",
)
COMMANDS = {
    "demo [options]": "Serve a small mailbox through fastmail on 127.0.0.1 until Ctrl-C; see its --help.",
    "migrate [-p prefix] [--probe-auth] [nginx.conf]": "Say what of an nginx.conf is served, ignored and "
    "different, and the commands that switch over and back. With --probe-auth, find out whether auth servers "
    "keep connections.",
}
"""What the manual says of each."""

LETTERS = "Letters can be combined, and values attached (-tqcfile)."

_VALUES = {
    "p": "directory name",
    "c": "file name",
    "e": "file name",
    "g": "parameter",
    "s": "parameter",
    "--pid": "file name",
    "--error-log": "file name",
}
"""Options that take a value, and what nginx calls it when it is missing."""

_WAIT = "60s"
"""How long ``--wait`` waits by default."""

_LONG_FLAGS = {"--help": "h", "--version": "v"}


class UsageError(Exception):
    """The command line is wrong; str() is nginx's message."""


@dataclass
class Arguments:
    """The command line taken apart: which letters stood there, and the values of options that have one."""

    flags: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)


def parse(argv: list[str]) -> Arguments:
    """Raises UsageError."""
    arguments = Arguments()
    words = iter(argv)
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            if name in _LONG_FLAGS and not equals:
                arguments.flags.add(_LONG_FLAGS[name])
            elif name == "--wait":
                arguments.values[name] = value if equals else _WAIT
            elif name in ("--pid", "--error-log"):
                arguments.values[name] = value if equals else _next(words, name)
            else:
                raise UsageError(f'invalid option: "{word}"')
        elif word.startswith("-"):
            _parse_letters(word[1:], words, arguments)
        else:
            raise UsageError(f'invalid option: "{word}"')
    if "--wait" in arguments.values:
        _check_wait(arguments.values)
    return arguments


def _check_wait(values: dict[str, str]) -> None:
    if values.get("s") != "reload":
        raise UsageError('option "--wait" requires "-s reload"')
    try:
        milliseconds(values["--wait"])
    except ValueError:
        raise UsageError(f'invalid value "{values["--wait"]}" of option "--wait"') from None


def _parse_letters(letters: str, words: Iterator[str], arguments: Arguments) -> None:
    for position, letter in enumerate(letters):
        if letter in "?hvVtTq":
            arguments.flags.add(letter)
        elif letter in _VALUES:
            value = letters[position + 1 :] or _next(words, letter)
            if letter == "s" and value not in pidfile.SIGNALS:
                raise UsageError(f'invalid option: "-s {value}"')
            arguments.values[letter] = value
            return
        else:
            raise UsageError(f'invalid option: "{letter}"')


def _next(words: Iterator[str], name: str) -> str:
    try:
        return next(words)
    except StopIteration:
        option = name if name.startswith("--") else f"-{name}"
        raise UsageError(f'option "{option}" requires {_VALUES[name]}') from None


def main(argv: list[str] | None = None) -> int:
    """Run the command line (``sys.argv``'s by default); returns the exit code."""
    argv = sys.argv if argv is None else argv
    identity = "nginx" if os.path.basename(argv[0]) == "nginx" else "fastmail"
    if argv[1:2] == ["demo"]:
        from fastmail import demo

        return demo.main(argv[2:])
    if argv[1:2] == ["migrate"]:
        from fastmail import migrate

        return migrate.main(argv[2:])
    try:
        arguments = parse(argv[1:])
    except UsageError as error:
        say(identity, str(error))
        return 1
    if arguments.flags & set("?hvV"):
        _print_about(identity, arguments.flags)
        if not arguments.flags & set("tT"):
            return 0
    name = argv[0] if identity == "nginx" else identity  # in the master's title
    return _run(identity, arguments, " ".join([name, *argv[1:]]))


def _run(identity: str, arguments: Arguments, command: str) -> int:
    from fastmail.server.cycle import Options, refuse  # a wrong option or -v need not load the engine

    defaults = Defaults.of(identity)
    values = arguments.values
    prefix = values.get("p", defaults.prefix)
    options = Options(
        identity=identity,
        prefix=prefix if prefix.endswith("/") else prefix + "/",
        path=values.get("c", defaults.conf),
        globals_text=values.get("g", ""),
        bootstrap_log=values.get("e"),
        pid=values.get("--pid"),
        error_log=values.get("--error-log"),
    )
    first_log = options.bootstrap_log or options.error_log or defaults.error_log
    log = bootstrap(first_log if first_log == "stderr" else options.prefixed(first_log), identity)
    if "s" in values:
        try:
            configuration = options.load()
            configuration.check()
            pid_path = options.pid_path(configuration)
        except ConfigError as error:
            refuse(error, log)
            return 1
        if "--wait" in values:
            done = pidfile.reload(pid_path, milliseconds(values["--wait"]) / 1000, log)
        else:
            done = pidfile.send(pid_path, values["s"], log)
        return 0 if done else 1

    from fastmail.server import start

    if arguments.flags & set("tT"):
        return _test(options, log, arguments.flags)
    return start.start(options, log, command)


def _test(options: Options, log: Log, flags: set[str]) -> int:
    """``-t`` and ``-T``."""
    from fastmail.server.start import check

    def parsed(configuration: Configuration) -> None:
        if "q" not in flags:
            say(options.identity, f"the configuration file {configuration.path} syntax is ok")

    configuration = check(options, log, parsed)
    path = options.prefixed(options.path)
    if configuration is None:
        say(options.identity, f"configuration file {path} test failed")
        return 1
    if "q" not in flags:
        say(options.identity, f"configuration file {path} test is successful")
    if "T" in flags:
        try:
            _dump(configuration)
        except OSError as error:
            log.emerg("write() to standard output failed", error)
            return 1
    return 0


def _dump(configuration: Configuration) -> None:
    with open(1, "wb", closefd=False) as output:
        for name, content in configuration.files:
            output.write(b"# configuration file " + os.fsencode(name) + b":\n" + content + b"\n")


def _print_about(identity: str, flags: set[str]) -> None:
    lines = [f"{identity} version: {product(identity)}"]
    defaults = Defaults.of(identity)
    if flags & set("?h"):
        lines += ["", _usage(identity, defaults)]
    if "V" in flags:
        lines += [
            f"built by {built_by()}",
            *built_with(),
            "TLS SNI support enabled",
            f"configure arguments: --prefix={defaults.prefix.rstrip('/')} --conf-path={defaults.conf}"
            f" --error-log-path={defaults.error_log} --pid-path={defaults.pid}"
            f" --lock-path={defaults.lock_file} --user={defaults.user} --with-mail",
        ]
    write(STDERR_FD, ("\n".join(lines) + "\n").encode())


def _usage(identity: str, defaults: Defaults) -> str:
    first, second = SYNOPSIS
    lines = [f"usage: {identity} {first}", f"       {' ' * len(identity)} {second}"]
    lines += [*(f"       {identity} {command}" for command in COMMANDS), ""]
    lines += [f"  {names:20}  {text.format_map(vars(defaults))}" for names, text in OPTIONS.items()]
    return "\n".join([*lines, "", LETTERS, ""])
