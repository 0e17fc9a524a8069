"""nginx or fastmail running a mail configuration in a directory of its own: one interface for both."""

import re
import sys
from collections.abc import Sequence

from support.processes import children
from support.program import Program, ProgramError, path_of

KINDS = ("fastmail", "nginx")

NGINX_MODULE = "/usr/lib/nginx/modules/ngx_mail_module.so"


class Proxy(Program):
    """A started proxy, with one worker unless ``workers`` says otherwise.

    ``main`` is put before the events block: ``user nobody;``, for example.
    """

    def __init__(
        self, kind: str, mail: str, listens: Sequence[int], *,
        main: str = "", workers: int = 1, connections: int = 4096,
    ) -> None:  # fmt: skip
        super().__init__(kind)
        (self.directory / "logs").mkdir()
        self.configuration = self.directory / "nginx.conf"
        self.configuration.write_text(
            f"{main}\nworker_processes {workers};\nerror_log logs/error.log info;\npid nginx.pid;\n"
            f"events {{ worker_connections {connections}; }}\nmail {{\n{mail}\n}}\n"
        )
        self._start(self._command(), listens, lambda: len(self.workers) == workers)

    @property
    def workers(self) -> list[int]:
        """The workers' process ids."""
        return children(self._process.pid)

    @property
    def worker(self) -> int:
        """The worker's process id. Raises ProgramError if there is not exactly one."""
        workers = self.workers
        if len(workers) != 1:
            raise ProgramError(f"{self.name} has workers {workers}, not one")
        return workers[0]

    @property
    def log_size(self) -> int:
        """The length of the error log so far: where log(), called later, shall begin."""
        return (self.directory / "logs/error.log").stat().st_size

    def log(self, since: int = 0) -> list[str]:
        """The error log's lines from byte ``since`` on."""
        with (self.directory / "logs/error.log").open("rb") as log:
            log.seek(since)
            # a line may hold any other control character
            return log.read().decode("latin-1").split("\n")[:-1]

    def wait_log(self, pattern: str, since: int = 0) -> str:
        """The first line that the regular expression is found in; raises ProgramError if none comes."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [line for line in self.log(since) if re.search(pattern, line)]
            return bool(found)

        self._wait(f"log {pattern!r}", look)
        return found[0]

    def said(self) -> str:
        log = self.directory / "logs/error.log"
        return super().said() + (log.read_text("latin-1") if log.exists() else "")

    def _command(self) -> list[str]:
        own = f"-p {self.directory} -e {self.directory}/logs/error.log -c {self.configuration} -g".split()
        if self.name == "nginx":
            return [path_of("nginx"), *own, f"load_module {NGINX_MODULE}; daemon off;"]
        return [sys.executable, "-m", "fastmail", *own, "daemon off;"]
