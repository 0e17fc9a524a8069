"""Runs fastmail's command line in a fork of this process for each line of JSON on stdin, which is
``[directory, file for stderr, file for stdout, argv]``; answers each with the exit code."""

import json
import os
import sys

import fastmail.server.start  # noqa: F401  (loaded here once, not in every fork)
from fastmail.cli import main


def run(directory: str, errors: str, output: str, argv: list[str]) -> int:
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)
    code = 70
    try:
        os.chdir(directory)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, output), (2, errors)):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        code = main(argv)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


for line in sys.stdin:
    print(run(*json.loads(line)), flush=True)
