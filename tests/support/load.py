"""Clients that keep logging in while something is done to the proxy."""

import threading

from support.listener import PATIENCE
from support.processes import Session


class Load(threading.Thread):
    """Logs in, exchanges a line and leaves, over and over; keeps what went wrong."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.logins = 0
        self.failures: list[str] = []
        self._port = port
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                with Session(self._port) as session:
                    session.exchange()
                self.logins += 1
            except (AssertionError, OSError) as error:
                self.failures.append(repr(error))

    def end(self) -> None:
        self._ended.set()
        self.join(PATIENCE)


def all_went_on(load: list[Load], before: list[int]) -> bool:
    """Whether every thread has logged in since, or failed."""
    return all(thread.logins > logins or thread.failures for thread, logins in zip(load, before, strict=True))
