"""Sessions that keep to the rules and check every byte, while hostile ones do what they want."""

from __future__ import annotations

import base64
import random
import re
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from fuzz import proxied
from fuzz.secure import AGREED, STARTTLS, Secrets
from fuzz.wire import MARK, Address, Wire, World

GREETINGS = {"imap": b"* OK hi\r\n", "pop3": b"+OK hi\r\n", "smtp": b"220 hi\r\n"}
PLUS = b"* OK [CAPABILITY LITERAL+]"


@dataclass
class Story:
    """What one session will say and hear."""

    number: int
    user: bytes
    password: bytes
    up: bytes
    down: bytes
    renamed: bool
    early: int  # bytes for the backend that are pipelined with the login
    backend_ends: bool
    source: str  # as a PROXY header has it

    @classmethod
    def make(cls, number: int, protocol: str, choose: random.Random) -> Story:
        def size() -> int:
            return choose.choice((0, 1, 100, 5000, 65535, 65536, 65537, 300_000, 2_000_000))

        odd = b' "\\\xff%20'
        if protocol == "imap":
            odd = choose.choice((b"", b" ", b'"\\', b"\xff\x00\r\n", b"%20{3}"))
        return cls(
            number,
            b"p%d" % number,
            MARK + odd,
            choose.randbytes(size()),
            choose.randbytes(size()),
            choose.random() < 0.3,
            choose.choice((0, 0, 2000)),
            choose.random() < 0.5,
            proxied.address(choose),
        )

    def credentials(self) -> tuple[bytes, bytes]:
        """As the backend gets them."""
        if not self.renamed:
            return self.user, self.password
        return b"q" + self.user, b"other " + self.password[:24].strip()


class Wrong(Exception):
    pass


def same(got: bytes, wanted: bytes, what: str) -> None:
    if got != wanted:
        at = next((i for i, pair in enumerate(zip(got, wanted, strict=False)) if len(set(pair)) > 1), -1)
        raise Wrong(f"{what}: {len(got)} bytes for {len(wanted)}, differing at {at}: {got[at : at + 60]!r}")


async def exchange(wire: Wire, send: bytes, wanted: bytes, what: str) -> None:
    """Both directions at once, at this peer's own pace."""
    task = wire.world.start(sending(wire, send))
    got = bytearray(wire.take_all())
    most = wire.random.choice((100, 5000, 65536, 1 << 20))
    if len(wanted) > 100_000:
        most = max(most, 5000)
    while len(got) < len(wanted):
        await wire.fill(most)
        got += wire.take_all()
        if wire.random.random() < 0.02:
            await wire.pause(0.05)
    same(bytes(got), wanted, what)
    await task


async def ended(wire: Wire) -> None:
    """The other side has nothing more to say."""
    try:
        await wire.fill()
    except EOFError:
        return
    raise Wrong(f"more than was sent: {wire.take_all()[:60]!r}")


async def sending(wire: Wire, data: bytes) -> None:
    try:
        await wire.send_pieces(data)
    except OSError:
        pass  # whoever reads on the other side says what is missing


class Polite:
    def __init__(self, world: World, secrets: Secrets) -> None:
        self.world = world
        self.secrets = secrets
        self.servers: dict[str, dict[str, Any]] = {}
        self.backends: dict[str, list[Address]] = {}
        self.stories: dict[int, Story] = {}
        self.backends_busy = 0

    # clients

    async def client(self, address: Address, protocol: str) -> None:
        number = len(self.stories)
        choose = random.Random(f"{self.world.seed}/story/{number}")
        story = self.stories[number] = Story.make(number, protocol, choose)
        for _ in range(choose.choice((1, 2))):  # the backend is known then
            await self._play(address, protocol, story)

    async def _play(self, address: Address, protocol: str, story: Story) -> None:
        try:
            wire = await Wire.connect(self.world, address)
        except OSError:
            self.world.count("polite refused")
            return
        try:
            if await self._enter(wire, protocol, story) and await self._login(wire, protocol, story):
                await self._relay(wire, story)
                self.world.count("polite done")
            else:
                self.world.count("polite refused")
        except (Wrong, OSError, EOFError) as error:
            self.world.defect(f"story {story.number} ({protocol}), client: {error!r}")
        finally:
            wire.close()

    async def _enter(self, wire: Wire, protocol: str, story: Story) -> bool:
        """As the listener wants it. False: the engine had no connection or descriptor left for it."""
        server = self.servers[protocol]
        try:
            if server["listen"] & 1:
                await wire.send(proxied.valid(wire.random, story.source))
            if server["listen"] & 2:
                await self.secrets.greet(wire)
        except (OSError, EOFError):
            return False
        return True

    async def _start_tls(self, wire: Wire, protocol: str) -> None:
        await wire.send_pieces(STARTTLS[protocol])
        line = await wire.until(b"\r\n")
        if not line.startswith(AGREED):
            raise Wrong(f"STARTTLS was answered with {line!r}")
        await self.secrets.greet(wire)

    async def greeted(self, address: Address, protocol: str) -> bool:
        """Whether a client is served when there is nothing else to do."""
        story = Story.make(-1, protocol, random.Random(0))
        wire = await Wire.connect(self.world, address)
        try:
            return await self._enter(wire, protocol, story) and bool(await wire.until(b"\r\n"))
        except (OSError, EOFError):
            return False
        finally:
            wire.close()

    async def _login(self, wire: Wire, protocol: str, story: Story) -> bool:
        """False: the engine had no connection or descriptor left for it."""
        greeting = {"imap": b"* OK IMAP4 ready\r\n", "pop3": b"+OK POP3 ready", "smtp": b"220 "}[protocol]
        said, heard = getattr(self, "_" + protocol)(story, wire.random)
        try:
            line = await wire.until(b"\r\n")
            if not line.startswith(greeting):
                raise Wrong(f"greeted with {line!r}")
            if self.servers[protocol]["starttls"] != "off":
                await self._start_tls(wire, protocol)
            await wire.send_pieces(said + story.up[: story.early])
            for wanted in heard:
                line = await wire.until(b"\r\n")
                if b"internal server error" in line.lower():
                    return False
                if wanted is not None:
                    same(line, wanted, "reply")
        except (OSError, EOFError):
            return False
        return True

    async def _relay(self, wire: Wire, story: Story) -> None:
        await exchange(wire, story.up[story.early :], story.down, "from the backend")
        if story.backend_ends:
            await ended(wire)

    def _imap(self, story: Story, choose: random.Random) -> tuple[bytes, list[bytes | None]]:
        end = b"a1 OK in\r\n"
        plain = base64.b64encode(b"\0" + story.user + b"\0" + story.password)
        if b"\0" not in story.password and choose.random() < 0.4:
            return b"a1 AUTHENTICATE PLAIN\r\n" + plain + b"\r\n", [b"+ \r\n", end]
        if choose.random() < 0.5:
            said = b"a1 LOGIN {%d}\r\n%b {%d+}\r\n" % (len(story.user), story.user, len(story.password))
        else:
            said = b"a1 LOGIN %b {%d}\r\n" % (story.user, len(story.password))
        return said + story.password + b"\r\n", [b"+ OK\r\n", end]

    def _pop3(self, story: Story, choose: random.Random) -> tuple[bytes, list[bytes | None]]:
        if choose.random() < 0.5:
            return b"USER %b\r\nPASS %b\r\n" % (story.user, story.password), [b"+OK\r\n", b"+OK in\r\n"]
        secret = base64.b64encode(story.password)
        said = b"AUTH LOGIN\r\n" + base64.b64encode(story.user) + b"\r\n" + secret + b"\r\n"
        return said, [b"+ VXNlcm5hbWU6\r\n", b"+ UGFzc3dvcmQ6\r\n", b"+OK in\r\n"]

    def _smtp(self, story: Story, choose: random.Random) -> tuple[bytes, list[bytes | None]]:
        plain = base64.b64encode(b"\0" + story.user + b"\0" + story.password)
        return b"EHLO me\r\nAUTH PLAIN " + plain + b"\r\n", [None, None, b"235 2.0.0 OK\r\n"]

    # the auth server

    async def auth(self, wire: Wire, protocol: str) -> None:
        choose = wire.random
        while True:
            request = await wire.until(b"\r\n\r\n")
            fields = dict(line.split(b": ", 1) for line in request.split(b"\r\n")[1:-2])
            story = self.stories[int(fields[b"Auth-User"][1:])]
            got = unquote_to_bytes(fields[b"Auth-User"]), unquote_to_bytes(fields[b"Auth-Pass"])
            if got != (story.user, story.password):
                self.world.defect(f"story {story.number}: auth server was sent {got}")
            if self.servers[protocol]["listen"] & 1 and fields[b"Client-IP"] != story.source.encode():
                self.world.defect(f"story {story.number}: {story.source} is {fields[b'Client-IP']!r}")
            family, address = choose.choice(self.backends[protocol])
            lines = [b"Auth-Status: OK"]
            if family == socket.AF_UNIX:
                lines.append(b"Auth-Server: unix:" + str(address).encode())
            else:
                lines += [b"Auth-Server: " + address[0].encode(), b"Auth-Port: %d" % address[1]]
            if story.renamed:
                lines += [b"Auth-User: " + story.credentials()[0], b"Auth-Pass: " + story.credentials()[1]]
            body = bytes(choose.choice((0, 0, 1, 2000)))
            lines.append(b"Content-Length: %d" % len(body))
            kept = b"HTTP/1.1" in request
            head = b"HTTP/1.1 200 OK" if kept else b"HTTP/1.0 200 OK"
            await wire.send_pieces(b"\r\n".join([head, *lines, b"", b""]) + body)
            if not kept:
                return

    # backends

    async def backend(self, wire: Wire, protocol: str) -> None:
        self.backends_busy += 1
        try:
            await self._serve(wire, protocol)
        finally:
            self.backends_busy -= 1

    async def _serve(self, wire: Wire, protocol: str) -> None:
        login = self._pop3_login if protocol == "pop3" else self._smtp_login
        try:
            plus = False
            if await self._introduced(wire, protocol):
                plus = protocol == "imap" and wire.random.random() < 0.5
                await wire.send_pieces(
                    GREETINGS[protocol].replace(b"* OK", PLUS) if plus else GREETINGS[protocol]
                )
            user, password = await (self._imap_login(wire, plus) if protocol == "imap" else login(wire))
        except (OSError, EOFError):
            return
        story = self.stories.get(int(re.sub(rb"\D", b"", user) or b"-1"))
        if story is None:
            self.world.defect(f"a backend was given the user {user!r}")
            return
        if (user, password) != story.credentials() and not (protocol == "smtp" and password is None):
            self.world.defect(f"story {story.number}: the backend was given {(user, password)!r}")
        try:
            end = {"imap": b"a1 OK in\r\n", "pop3": b"+OK in\r\n", "smtp": b""}[protocol]
            await exchange(wire, end + story.down, story.up, "from the client")
            if not story.backend_ends:
                await ended(wire)
        except (Wrong, OSError, EOFError) as error:
            self.world.defect(f"story {story.number} ({protocol}), backend: {error!r}")

    async def _introduced(self, wire: Wire, protocol: str) -> bool:
        """What comes before the dialogue, or begins it. Whether the greeting is still to be sent."""
        server = self.servers[protocol]
        if server["proxy_protocol"]:
            await proxied.read(wire)
        if not server["proxy_tls"]:
            return True
        if not server["proxy_ssl_starttls"]:
            await self.secrets.answer(wire)
            return True
        await wire.send_pieces(GREETINGS[protocol])
        tag = (await wire.until(b"\r\n")).partition(b" ")[0]
        offer = {
            "imap": b"* CAPABILITY IMAP4rev1 STARTTLS\r\n" + tag + b" OK\r\n",
            "pop3": b"+OK\r\nSTLS\r\n.\r\n",
            "smtp": b"250-hi\r\n250 STARTTLS\r\n",
        }
        await wire.send_pieces(offer[protocol])
        tag = (await wire.until(b"\r\n")).partition(b" ")[0]
        await wire.send({"imap": tag + b" OK\r\n", "pop3": b"+OK\r\n", "smtp": b"220 go\r\n"}[protocol])
        await self.secrets.answer(wire)
        return False

    async def _imap_login(self, wire: Wire, plus: bool) -> tuple[bytes, bytes | None]:
        words: list[bytes] = []
        line = await wire.until(b"\r\n")
        while literal := re.search(rb"\{(\d+)(\+?)\}\r\n$", line):
            if plus != (literal[2] == b"+"):
                self.world.defect(f"a backend that says LITERAL+ or not ({plus}) was sent {line!r}")
            if not plus:
                await wire.send_pieces(b"+ go\r\n")
            words.append(await wire.read(int(literal[1])))
            line = await wire.until(b"\r\n")
        if not words:
            words = [re.sub(rb"\\(.)", rb"\1", word) for word in re.findall(rb'"((?:[^"\\]|\\.)*)"', line)]
        return words[0], words[1]

    async def _pop3_login(self, wire: Wire) -> tuple[bytes, bytes | None]:
        user = (await wire.until(b"\r\n"))[5:-2]
        await wire.send_pieces(b"+OK\r\n")
        return user, (await wire.until(b"\r\n"))[5:-2]

    async def _smtp_login(self, wire: Wire) -> tuple[bytes, bytes | None]:
        await wire.until(b"\r\n")
        await wire.send_pieces(b"250-hi\r\n250 PIPELINING\r\n")
        line = await wire.until(b"\r\n")
        user = re.search(rb"LOGIN=(\S+)", line)
        await wire.send_pieces(b"220 ok\r\n")
        assert await wire.until(b"\r\n") == b"EHLO me\r\n"
        if user is not None:
            await wire.send(b"250 ok\r\n")
            return user[1], None
        await wire.send_pieces(b"250 ok\r\n")
        plain = await wire.until(b"\r\n")
        await wire.send_pieces(b"235 ok\r\n")
        _, name, password = base64.b64decode(plain[11:-2]).split(b"\0", 2)
        return name, password
