"""Prints which lines the tests have run, of Python and of Cython files: coverage_report.py COUNTS [README]

coverage.py has counted the Python lines of each process. gcc has counted those of the C file that Cython has
made; its ``#line`` directives say which line of a .pyx file each comes from. COUNTS is gcc's file (.gcda);
README is one whose line "Coverage: ..." is written anew. Run by ci/coverage.
"""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import coverage
from coverage.plugin import CoveragePlugin, FileReporter
from coverage.plugin_support import Plugins

COUNTS = Path(sys.argv[1])
PYTHON = "*.py"
CYTHON = "*.pyx"


@cache
def cython_lines() -> dict[str, dict[int, bool]]:
    """For each .pyx file its lines that are code, and whether they have been run."""
    c_file = Path("build/coverage/fastmail/_speedups.c").read_text()
    written = set(re.findall(r'^#line (\d+) "(.+\.pyx)"$', c_file, re.MULTILINE))
    report = subprocess.run(["gcov", "--json-format", "--stdout", COUNTS], check=True, capture_output=True)
    lines: dict[str, dict[int, bool]] = defaultdict(dict)
    for source in json.loads(report.stdout)["files"]:
        known = lines[os.path.abspath(source["file"])]
        for line in source["lines"]:
            number = line["line_number"]
            # Lines that Cython adds of its own accord count as those that follow; no directive names these.
            if (str(number), source["file"]) in written:
                known[number] = known.get(number, False) or line["count"] > 0
    return {file: known for file, known in lines.items() if known}


class CythonFile(FileReporter):
    def lines(self) -> set[int]:
        return set(cython_lines()[self.filename])


class Cython(CoveragePlugin):
    def file_reporter(self, filename: str) -> FileReporter:
        return CythonFile(filename)


def coverage_init(plugins: Plugins, options: object) -> None:
    plugins.add_file_tracer(Cython())


def collect() -> coverage.Coverage:
    """What all processes have left."""
    report = coverage.Coverage(messages=True)
    report.set_option("run:plugins", [__name__])
    report.combine()
    data = report.get_data()
    data.add_lines({file: [n for n, run in lines.items() if run] for file, lines in cython_lines().items()})
    data.add_file_tracers(dict.fromkeys(cython_lines(), f"{__name__}.{Cython.__name__}"))
    return report


def main() -> None:
    report = collect()
    with open(os.devnull, "w") as nowhere:
        python, cython = (round(report.report(include=[kind], file=nowhere)) for kind in (PYTHON, CYTHON))
    report.report(skip_empty=True)
    report.html_report(directory="html", skip_empty=True)
    text = f"Coverage: {python} % of the Python lines, {cython} % of the Cython lines (`ci/coverage`)."
    print(text)
    for readme in map(Path, sys.argv[2:]):
        readme.write_text(re.sub("^Coverage: .*$", text, readme.read_text(), count=1, flags=re.MULTILINE))


if __name__ == "__main__":
    main()
