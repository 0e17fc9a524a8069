"""Rounds of random peers against one engine after another; see ``--help``."""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
import random
import re
import resource
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fuzz.hostile import Hostile, client
from fuzz.polite import Polite
from fuzz.secure import Secrets
from fuzz.wire import MARK, Address, World

PROTOCOLS = ("imap", "pop3", "smtp")
CROWD = 90  # hostile clients at once
POLITE = 12
TRUSTED = [
    (socket.AF_INET, [127, 0, 0, 0], 8),
    (socket.AF_INET6, [0] * 15 + [1], 128),
    (socket.AF_UNIX, [], 0),
]
DRAINED_IN = 12.0  # seconds in which sessions end whose peers do nothing; all timeouts together are less
QUIET = 0.5
"""Seconds over which an engine that has nothing to do is watched; it may use a tenth of them."""
HEAP_GROWTH = 150 * 1024
"""kB that the victim may have more at the end of a round than at its first quarter."""


def secrets() -> list[bytes]:
    """The mark as it could stand in a log: raw, and in base64 at any offset."""
    coded = [base64.b64encode(b"x" * shift + MARK)[4 * (shift > 0) : -8] for shift in range(3)]
    return [MARK, *coded]


class Victim:
    """The engine's process, with its numbers as the kernel sees them."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.threads: list[int] = []

    @classmethod
    async def start(cls, python: str, order: dict[str, Any]) -> tuple[Victim, list[Any]]:
        process = await asyncio.create_subprocess_exec(
            python, "-m", "fuzz.victim", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        victim = cls(process)
        answer = await victim.ask(order)
        victim.threads = answer["threads"]
        return victim, answer["addresses"]

    async def ask(self, order: dict[str, Any], patience: float = 60.0) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        async with asyncio.timeout(patience):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the victim has died ({await self._process.wait()})")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def end(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        return await self._process.wait()

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def memory(self) -> int:
        """kB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def cpu(self) -> float:
        """Seconds that the engines' threads have used."""
        return sum(map(self._cpu, self.threads))

    def _cpu(self, thread: int) -> float:
        text = Path(f"/proc/{self._process.pid}/task/{thread}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Round:
    """One engine with many servers: the last three are polite, with one for each protocol."""

    def __init__(self, seed: str, directory: Path, python: str) -> None:
        self.world = World(seed)
        self._choose = random.Random(seed)
        self._directory = directory
        self._python = python
        self._log = directory / "log"
        self._numbers = itertools.count()
        self._servers: list[dict[str, Any]] = []
        self._backends: dict[str, list[Address]] = {protocol: [] for protocol in PROTOCOLS}
        self._secrets = Secrets(directory)
        self._hostile = Hostile(self.world, self._backends, self._secrets)
        self._polite = Polite(self.world, self._secrets)
        self._workers = self._choose.choice((1, 2, 3))
        self._heap = 0

    def _path(self) -> str:
        return str(self._directory / f"s{next(self._numbers)}")

    def _family(self) -> tuple[int, str]:
        family = self._choose.choice((socket.AF_INET, socket.AF_INET, socket.AF_INET6, socket.AF_UNIX))
        return family, self._path() if family == socket.AF_UNIX else ""

    def _server(self, protocol: str, auth_http: Address, **options: Any) -> None:
        family, path = self._family()
        special = {"pop3": ["apop"], "smtp": ["none"]}.get(protocol, [])
        mechanisms = ["plain", "login", "cram-md5", "external", *special]
        self._servers.append(
            {
                "family": family,
                "path": path,
                "protocol": protocol,
                "server_name": "mail.test",
                "auth_http": auth_http,
                "auth_http_host": "auth.test",
                "auth_http_uri": "/auth",
                "auth": self._choose.sample(mechanisms, self._choose.randrange(1, len(mechanisms) + 1)),
            }
            | self._speech()
            | options
        )

    def _speech(self) -> dict[str, Any]:
        """TLS and PROXY headers, on either side."""
        choose = self._choose
        tls, proxy_tls = (choose.choice(("off", "off", "first byte", "STARTTLS")) for _ in range(2))
        return {
            "listen": 2 * (tls == "first byte") + (choose.random() < 0.3),
            "tls": tls != "off",
            "starttls": choose.choice(("on", "only")) if tls == "STARTTLS" else "off",
            "set_real_ip_from": TRUSTED,
            "proxy_tls": proxy_tls != "off",
            "proxy_ssl_starttls": proxy_tls == "STARTTLS",
            "proxy_ssl_verify": proxy_tls != "off",
            "proxy_ssl_name": "auth.test",
            "proxy_ssl_server_name": choose.random() < 0.5,
            "proxy_ssl_session_reuse": choose.random() < 0.5,
            "proxy_protocol": choose.choice((0, 0, 1, 2)),
        }

    def _build(self) -> None:
        choose = self._choose
        for protocol in PROTOCOLS:
            for _ in range(2):
                serve = lambda wire, protocol=protocol: self._hostile.backend(wire, protocol)  # noqa: E731
                self._backends[protocol].append(self.world.listen(*self._family(), serve))
            dead = socket.socket()
            dead.bind(("127.0.0.1", 0))
            self._backends[protocol].append((socket.AF_INET, dead.getsockname()))
            dead.close()
            for _ in range(3):
                serve = lambda wire, protocol=protocol: self._hostile.auth(wire, protocol)  # noqa: E731
                self._server(
                    protocol,
                    self.world.listen(*self._family(), serve, backlog=choose.choice((1, 256))),
                    auth_http_timeout=200,
                    auth_http_keepalive=choose.choice((0, 4)),
                    auth_http_transport=choose.choice(("engine", "engine", "engine", "aiohttp")),
                    auth_http_cache=choose.choice((None, (500, 100))),
                    client_buffer=choose.choice((1, 2, 128, 4096, 4096, 100_000)),
                    proxy_buffer=choose.choice((1, 16, 4096, 4096)),
                    timeout=300,
                    max_errors=choose.choice((1, 5, 1000)),
                    proxy_timeout=300,
                    proxy_pass_error_message=choose.random() < 0.5,
                    xclient=choose.random() < 0.5,
                    proxy_smtp_auth=choose.random() < 0.3,
                    proxy_pipelining=choose.random() < 0.5,
                    proxy_preconnect=choose.random() < 0.5,
                    smtp_greeting_delay=choose.choice((0, 50)),
                )
        for protocol in PROTOCOLS:
            serve = lambda wire, protocol=protocol: self._polite.backend(wire, protocol)  # noqa: E731
            self._polite.backends[protocol] = [
                self.world.listen(*self._family(), serve, rude=False) for _ in range(2)
            ]
            serve = lambda wire, protocol=protocol: self._polite.auth(wire, protocol)  # noqa: E731
            self._server(
                protocol,
                self.world.listen(*self._family(), serve, rude=False),
                auth_http_keepalive=choose.choice((0, 4)),
                auth_http_cache=choose.choice((None, (500, 100))),
                proxy_pipelining=choose.random() < 0.5,
                proxy_preconnect=choose.random() < 0.5,
                xclient=True,
                proxy_smtp_auth=choose.random() < 0.5,
                auth=["plain"],
            )
            self._polite.servers[protocol] = self._servers[-1]

    async def run(self, seconds: float) -> None:
        choose = self._choose
        self._build()
        os.chmod(self._directory, 0o777)
        engine = {"worker_connections": choose.choice((60, 200, 4000)), "multi_accept": choose.random() < 0.5}
        order = {
            "servers": self._servers,
            "engine": engine,
            "workers": self._workers,
            "certificate": self._secrets.files,
            "log": str(self._log),
            "nobody": os.getuid() == 0 and choose.random() < 0.3,
        }
        self._victim, names = await Victim.start(self._python, order)
        addresses = [
            (server["family"], name if isinstance(name, str) else tuple(name[:2]))
            for server, name in zip(self._servers, names, strict=True)
        ]
        for backends in self._polite.backends.values():
            for family, path in backends:
                if family == socket.AF_UNIX:
                    os.chmod(path, 0o777)
        for path in self._directory.glob("s*"):
            os.chmod(path, 0o777)
        before = self._victim.descriptors()
        await self._attack(seconds, addresses)
        await self._settle(before, addresses)
        await self._finish()

    async def _attack(self, seconds: float, addresses: list[Address]) -> None:
        choose = self._choose
        hostile: set[asyncio.Task[None]] = set()
        polite: set[asyncio.Task[None]] = set()
        started = time.monotonic()
        while (spent := time.monotonic() - started) < seconds:
            if len(hostile) < CROWD:
                index = choose.randrange(len(addresses) - len(PROTOCOLS))
                server = self._servers[index]
                self.world.count("hostile clients")
                task = self.world.start(client(self.world, addresses[index], server, self._secrets))
                hostile.add(task)
                task.add_done_callback(hostile.discard)
            if len(polite) < POLITE and choose.random() < 0.1:
                index = -1 - choose.randrange(len(PROTOCOLS))
                protocol = self._servers[index]["protocol"]
                task = self.world.start(self._polite.client(addresses[index], protocol))
                polite.add(task)
                task.add_done_callback(polite.discard)
            if choose.random() < 0.002:
                used = self._victim.descriptors()
                await self._victim.ask({"do": "nofile", "limit": max(16, used + choose.randrange(-5, 10))})
                await asyncio.sleep(choose.random() * 0.3)
                await self._victim.ask({"do": "nofile", "limit": 0})
            if not self._heap and spent > seconds / 4:
                self._heap = self._victim.memory()
            await asyncio.sleep(0 if len(hostile) < CROWD else 0.002)
        deadline = time.monotonic() + 30
        while polite or self._polite.backends_busy:
            if time.monotonic() > deadline:
                self.world.defect(f"{len(polite)} polite clients, {self._polite.backends_busy} backends hang")
                break
            await asyncio.sleep(0.05)

    async def _drained(self) -> None:
        deadline = time.monotonic() + DRAINED_IN
        while (stats := await self._victim.ask({"do": "stats"}))["sessions"]:
            if time.monotonic() > deadline:
                self.world.defect(f"sessions do not end: {stats}")
                break
            await asyncio.sleep(0.05)

    async def _served(self, addresses: list[Address]) -> None:
        """Each of the polite servers takes clients, also if all workers have been full."""
        for address, server in list(zip(addresses, self._servers, strict=True))[-len(PROTOCOLS) :]:
            try:
                async with asyncio.timeout(10):
                    served = await self._polite.greeted(address, server["protocol"])
            except TimeoutError:
                served = False
            if not served:
                self.world.defect(f"nobody serves {address} any more")

    async def _settle(self, before: int, addresses: list[Address]) -> None:
        """Everybody stops and stays: sessions have to end by their timeouts, and then nothing may happen."""
        self.world.freeze()
        await self._drained()
        await asyncio.sleep(0.7)  # the pause after accept() has failed
        await self._served(addresses)
        await self._drained()
        cpu = self._victim.cpu()
        await asyncio.sleep(QUIET)
        used = self._victim.cpu() - cpu
        if used > QUIET / 10:
            self.world.defect(f"the engine is busy with nothing: {used:.2f} s of {QUIET} s")
        stats = await self._victim.ask({"do": "stats"})
        idle = stats["auth_connections"]
        kept = sum(server.get("auth_http_keepalive", 0) for server in self._servers)
        if idle > kept * self._workers or not stats["alive"]:
            self.world.defect(f"not at rest: {stats}")
        for name in ("sessions", "relaying", "pipes_lent", "timers"):
            if stats[name]:
                self.world.defect(f"{name} is not 0: {stats}")
        if stats["connections"] != (len(self._servers) + 1) * self._workers + idle:
            self.world.defect(f"connections are miscounted: {stats}")
        memory = self._victim.memory()
        if memory > self._heap + HEAP_GROWTH:
            self.world.defect(f"memory grows: {self._heap} kB, then {memory} kB")
        self.world.counts["memory kB"] = memory
        self.world.thaw()
        await self.world.end()
        await asyncio.sleep(0.2)
        stats = await self._victim.ask({"do": "stats"})
        self.world.counts |= {name: stats[name] for name in ("accepted", "logins", "auth_requests")}
        aiohttp = any(server.get("auth_http_transport") == "aiohttp" for server in self._servers)
        after = self._victim.descriptors() - 2 * stats["pipes"] - stats["auth_connections"]
        if after != before and not (aiohttp and abs(after - before) <= 40 * self._workers):
            self.world.defect(f"{before} descriptors before, {after} after: {stats}")

    async def _finish(self) -> None:
        stats = await self._victim.ask({"do": "end", "graceful": self._choose.random() < 0.5})
        if "error" in stats:
            self.world.defect(stats["error"])
        if status := await self._victim.end():
            self.world.defect(f"the victim ended with {status}")
        # A spoilt dialogue may give the password where the login belongs, or without an AUTH before it.
        log = re.sub(rb'login: ".*?(?=\n\d{4}/\d\d/\d\d |\Z)', b"", self._log.read_bytes(), flags=re.DOTALL)
        log = re.sub(rb'rejected before greeting: "(?:(?!auth)[^"])*"', b"", log, flags=re.IGNORECASE)
        for secret in secrets():
            at = log.find(secret)
            if at >= 0:
                line = log[log.rfind(b"\n", 0, at) + 1 : log.find(b"\n", at)]
                self.world.defect(f"the log has a password: {line!r}")


async def rounds(options: argparse.Namespace) -> int:
    started = time.monotonic()
    reports = Path(options.reports) if options.reports else None
    for number in itertools.count(options.first):
        seed = f"{options.seed}/{number}"
        directory = Path(tempfile.mkdtemp(prefix="fz"))
        this = Round(seed, directory, options.python)
        try:
            await this.run(options.round)
        except Exception as error:
            this.world.defect(f"the round failed: {error!r}")
            await this.world.end()
        defects = list(dict.fromkeys(this.world.defects))
        found = sorted(reports.glob("report*")) if reports else []
        defects += [f"sanitizer report: {path}" for path in found]
        counts = ", ".join(f"{name} {count}" for name, count in sorted(this.world.counts.items()))
        print(f"round {number}: {counts}", flush=True)
        if defects:
            print(f"DEFECTS with --seed {options.seed} --first {number} (log in {directory}):")
            for defect in defects[:20]:
                print(f"  {defect}")
            return 1
        shutil.rmtree(directory)
        if time.monotonic() - started + options.round > options.seconds:
            break
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="ci/fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="begin no round that would end later")
    parser.add_argument("--round", type=float, default=15, help="seconds of attack in a round")
    seed = str(random.randrange(10**6))
    parser.add_argument("--seed", default=seed, help="of all choices but the kernel's")
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--python", default=sys.executable, help="runs the engine")
    parser.add_argument("--reports", help="directory that sanitizers write to")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return asyncio.run(rounds(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
