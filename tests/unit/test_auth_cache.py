"""Kept answers (auth_http_cache): served to the same login only, for their time only, and never a secret."""

import base64
import mmap
import os
from dataclasses import dataclass, replace
from typing import Any

import pytest
from dialogue.exchange import SALT, answer, server
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastmail._speedups import Dialogue, Server, SharedCache

VALID, INVALID = 1000, 100
NO = answer("no", address=None, port=None)


def cached(protocol: str = "imap", cache: SharedCache | None = None, **options: Any) -> Server:
    """A server that keeps answers."""
    cache = cache or SharedCache(bytearray(65536))
    return server(protocol, auth_http_cache=(cache, VALID, INVALID), **options)


def encoded(*fields: bytes) -> bytes:
    return base64.b64encode(b"\0".join(fields))


# --- whose answer it is ----------------------------------------------------------------------------

MECHANISMS = {
    "imap": ("plain", "cram-md5", "external"),
    "pop3": ("plain", "apop", "cram-md5", "external"),
    "smtp": ("plain", "cram-md5", "external", "none"),
}
PLACES: dict[str, dict[str, Any]] = {
    "here": {},
    "another server block": {},
    "another URI": {"auth_http_uri": b"/other"},
    "another host": {"auth_http_host": b"other"},
    "another header": {"auth_http_headers": [(b"X-Shard", b"1")]},
    "another value": {"auth_http_headers": [(b"X-Shard", b"2")]},
}


@dataclass(frozen=True)
class Asking:
    """All that an auth server is told, and who tells it."""

    place: str = "here"
    protocol: str = "imap"
    method: str = "plain"
    user: bytes = b"user"
    password: bytes = b"secret"
    client: bytes = b"127.0.0.1"
    helo: bytes = b"client.test"
    sender: bytes = b"from@test"
    recipient: bytes = b"to@test"

    def commands(self) -> bytes:
        response = encoded(self.user) if self.method == "external" else encoded(b"", self.user, self.password)
        mechanism = self.method.upper().encode()
        if self.protocol == "imap":
            return b"a AUTHENTICATE %b %b\r\n" % (mechanism, response)
        if self.protocol == "pop3":
            return b"AUTH %b %b\r\n" % (mechanism, response)
        if self.method != "none":
            return b"EHLO %b\r\nAUTH %b %b\r\n" % (self.helo, mechanism, response)
        return b"EHLO %b\r\nMAIL FROM:<%b>\r\nRCPT TO:<%b>\r\n" % (self.helo, self.sender, self.recipient)


class Houses:
    """Servers of every place and protocol with one cache."""

    def __init__(self, valid: int = VALID, invalid: int = INVALID) -> None:
        self._keep = SharedCache(bytearray(32768)), valid, invalid
        self._servers: dict[tuple[str, str], Server] = {}

    def server(self, asking: Asking) -> Server:
        """Where that client comes to."""
        where = asking.place, asking.protocol
        if where not in self._servers:
            self._servers[where] = server(
                asking.protocol,
                auth=MECHANISMS[asking.protocol],
                auth_http_cache=self._keep,
                **PLACES[asking.place],
            )
        return self._servers[where]

    def asks(self, asking: Asking) -> Dialogue:
        """A client that has come to where the auth server is asked."""
        dialogue = Dialogue(self.server(asking), client=asking.client, salt=SALT)
        assert dialogue.feed(asking.commands())[1] == "auth"
        return dialogue


BYTES = st.binary(min_size=1, max_size=20).filter(lambda value: 0 not in value) | st.text(
    "ab %\r\n:", min_size=1, max_size=4
).map(str.encode)
WORDS = st.text("ab.-", min_size=1, max_size=4).map(str.encode)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "place": st.sampled_from(list(PLACES)),
    "protocol": st.sampled_from(["imap", "pop3", "smtp"]),
    "method": st.sampled_from(["plain", "external", "none"]),
    "user": BYTES,
    "password": BYTES,
    "client": st.sampled_from([b"127.0.0.1", b"127.0.0.2", b"2001:db8::1"]),
    "helo": WORDS,
    "sender": WORDS,
    "recipient": WORDS,
}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Asking, Asking]:
    """Two that differ in a few things at most."""
    first = Asking(**{name: draw(values) for name, values in FIELDS.items()})
    changes = {name: draw(FIELDS[name]) for name in draw(st.sets(st.sampled_from(list(FIELDS)), max_size=2))}
    pair = first, replace(first, **changes)
    # Only SMTP has a login without credentials.
    return tuple(replace(a, protocol="smtp") if a.method == "none" else a for a in pair)  # type: ignore[return-value]


@settings(max_examples=400)
@given(pairs())
@example((Asking(), Asking()))
@example((Asking(user=b"ab", password=b"c"), Asking(user=b"a", password=b"bc")))
@example((Asking(user=b"a b"), Asking(user=b"a%20b")))
@example((Asking(user=b"a\r\nAuth-Pass: b", password=b"c"), Asking(user=b"a", password=b"b")))
@example((Asking(method="external"), Asking(method="external", password=b"another")))
@example((Asking(protocol="smtp", password=b""), Asking(protocol="smtp", method="external")))
def test_a18_nobody_else_is_served(pair: tuple[Asking, Asking]) -> None:
    houses = Houses()
    first, second = (houses.asks(asking) for asking in pair)
    assert first.auth_cached() is None
    request = first.auth_request()
    assert first.auth_answer(NO)[0] == "rejected"
    alike = pair[0].place == pair[1].place and request == second.auth_request()
    assert (second.auth_cached() is not None) == alike


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("place", "another server block"), ("place", "another URI"), ("place", "another host"),
        ("place", "another header"), ("protocol", "pop3"), ("protocol", "smtp"), ("user", b"User"),
        ("user", b"user "), ("password", b"Secret"), ("password", b""), ("client", b"127.0.0.2"),
        ("client", b"::1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("said", [answer(), NO], ids=["good", "refused"])
def test_a18_what_differs_is_asked_again(field: str, value: Any, said: bytes) -> None:
    houses = Houses()
    first, other = Asking(), replace(Asking(), **{field: value})
    for asking in (first, other):
        houses_answered(houses, asking, said)
    for asking in (first, other):
        assert houses.asks(asking).auth_cached() is not None


@pytest.mark.parametrize("field", ["helo", "sender", "recipient"])
def test_a18_envelopes(field: str) -> None:
    houses = Houses()
    mail = Asking(protocol="smtp", method="none")
    assert houses.asks(mail).auth_cached() is None
    houses_answered(houses, mail)
    assert houses.asks(mail).auth_cached() is not None
    changed: dict[str, Any] = {field: b"other@test"}
    assert houses.asks(replace(mail, **changed)).auth_cached() is None


def houses_answered(houses: Houses, asking: Asking, said: bytes = answer(), now: int = 0) -> None:
    """The auth server is asked and says that."""
    dialogue = houses.asks(asking)
    assert dialogue.auth_cached(now=now) is None
    dialogue.auth_answer(said, now=now)


def test_commands_that_mean_the_same_share_it() -> None:
    houses = Houses()
    houses_answered(houses, Asking())
    dialogue = Dialogue(houses.server(Asking()))
    assert dialogue.feed(b'x LOGIN "user" {6+}\r\nsecret\r\n')[1] == "auth"
    assert dialogue.auth_cached() is not None


@pytest.mark.parametrize(
    ("protocol", "commands"),
    [
        ("imap", [b"a AUTHENTICATE CRAM-MD5\r\n", encoded(b"user " + b"0" * 32) + b"\r\n"]),
        ("smtp", [b"EHLO x\r\n", b"AUTH CRAM-MD5\r\n", encoded(b"user " + b"0" * 32) + b"\r\n"]),
        ("pop3", [b"APOP user " + b"0" * 32 + b"\r\n"]),
    ],
)
def test_digests_are_asked_every_time(protocol: str, commands: list[bytes]) -> None:
    """Even with the same challenge, which nobody is given twice."""
    asked = cached(protocol, auth=MECHANISMS[protocol])
    for _ in range(2):
        dialogue = Dialogue(asked, salt=SALT)
        wanted = [dialogue.feed(command)[1] for command in commands]
        assert wanted[-1] == "auth"
        assert dialogue.auth_cached() is None
        assert dialogue.auth_answer(answer("OK", "Auth-Pass: secret"))[0] == "proxy"


def test_attempts_after_the_first_are_asked_every_time() -> None:
    """Auth servers count them to find those who guess."""
    asked = cached()
    refusal = answer("no", "Auth-Wait: 1")
    for first_time in (True, False):
        dialogue = Dialogue(asked)
        assert dialogue.feed(b"a LOGIN user wrong\r\n")[1] == "auth"
        assert (dialogue.auth_cached() is None) == first_time
        if first_time:
            assert dialogue.auth_answer(refusal)[0] == "rejected"
        for attempt in (2, 3):
            assert dialogue.feed(b"b LOGIN user other\r\n")[1] == "auth"
            assert f"Auth-Login-Attempt: {attempt}\r\n".encode() in dialogue.auth_request()
            assert dialogue.auth_cached() is None
            assert dialogue.auth_answer(refusal)[0] == "rejected"


# --- which answers ---------------------------------------------------------------------------------

KEPT = {
    "good": answer(),
    "without a status": answer(None),
    "good, with another user": answer("OK", "Auth-User: boss"),
    "good, on a unix socket": answer("OK", address="unix:/run/imap", port=None),
    "good, IPv6": answer("OK", address="2001:db8::7"),
    "good, after a wait": answer("OK", "Auth-Wait: 5"),
    "refused": NO,
    "refused with a pause": answer("Invalid login or password", "Auth-Wait: 3"),
    "refused with IMAP's code": answer("[AUTHENTICATIONFAILED] no"),
    "refused with POP3's code": answer("[AUTH] no"),
    "refused with SMTP's code": answer("no", "Auth-Error-Code: 535 5.7.8"),
    "refused and to wait": answer("no", "Auth-Status: WAIT"),
    "with an unusual status": answer("no").replace(b"200", b"403"),
}
NOT_KEPT = {
    "to wait": answer("WAIT", "Auth-Wait: 3"),
    "with a password": answer("OK", "Auth-Pass: secret"),
    "with an empty password": answer("OK", "Auth-Pass:"),
    "without an address": answer("OK", address=None),
    "without a port": answer("OK", port=None),
    "with a bad port": answer("OK", port="0"),
    "a name for an address": answer("OK", address="backend.test"),
    "out for a moment, SMTP": answer("later", "Auth-Error-Code: 451 4.3.0"),
    "out for a moment, IMAP": answer("[UNAVAILABLE] later"),
    "out for a moment, POP3": answer("[SYS/TEMP] later"),
    "a mailbox in use": answer("[IN-USE] later"),
    "an error of the server": answer().replace(b"200 OK", b"500 Internal Server Error"),
    "a refusal of a broken server": NO.replace(b"200 OK", b"503 Unavailable"),
    "nothing": b"\r\n",
    "garbage": b"\0\xff\r\n\r\n",
    "too long": answer("no", "X: " + "x" * 4096),
}


def outcome(dialogue: Dialogue, told: tuple[str, bytes, int] | None) -> tuple[Any, ...]:
    """All that can be seen of what an answer has led to."""
    upstream = dialogue.upstream().feed(b"* OK hi\r\n") if told and told[0] == "proxy" else None
    return told, dialogue.log, dialogue.credentials, upstream


def twice(said: bytes, protocol: str = "imap") -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What comes of an answer, and of what is kept of it for the next."""
    houses = Houses()
    first, second = (houses.asks(Asking(protocol=protocol)) for _ in range(2))
    assert first.auth_cached() is None
    fresh = outcome(first, first.auth_answer(said))
    return fresh, outcome(second, second.auth_cached())


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp"])
def test_kept(name: str, protocol: str) -> None:
    """The second login cannot tell, its log lines neither."""
    fresh, kept = twice(KEPT[name], protocol)
    assert kept == fresh


@pytest.mark.parametrize("name", NOT_KEPT)
@pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp"])
def test_not_kept(name: str, protocol: str) -> None:
    assert twice(NOT_KEPT[name], protocol)[1][0] is None


HEADERS = st.sampled_from(
    ["Auth-Status", "Auth-Server", "Auth-Port", "Auth-User", "Auth-Pass", "Auth-Wait", "Auth-Error-Code", "X"]
)
VALUES = st.sampled_from(
    ["OK", "WAIT", "", "no", "127.0.0.1", "143", "unix:/x", "3", "-1", "535", "\tx", "a b", "[AUTH]"]
) | st.text(
    st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=20
)  # fmt: skip


@settings(max_examples=400)
@given(
    st.lists(st.tuples(HEADERS, VALUES), max_size=10),
    st.sampled_from(["imap", "pop3", "smtp"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_a_kept_answer_means_what_it_meant(
    headers: list[tuple[str, str]], protocol: str, line_end: str
) -> None:
    lines = ["HTTP/1.0 200 OK", *(f"{name}: {value}" for name, value in headers), "", ""]
    fresh, kept = twice(line_end.join(lines).encode("latin-1"), protocol)
    assert kept[0] is None or kept == fresh


# --- for how long ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "time"), [(answer(), VALID), (NO, INVALID)], ids=["good", "refused"])
def test_answers_age(said: bytes, time: int) -> None:
    houses = Houses()
    houses_answered(houses, Asking(), said, now=5000)
    for now in (5000, 5000 + time // 2, 5000 + time - 1):  # being used keeps nothing longer
        assert houses.asks(Asking()).auth_cached(now=now) is not None
    assert houses.asks(Asking()).auth_cached(now=5000 + time) is None


@pytest.mark.parametrize(("valid", "invalid", "said"), [(0, INVALID, answer()), (VALID, 0, NO)])
def test_no_time_is_never(valid: int, invalid: int, said: bytes) -> None:
    for other in (answer(), NO):
        houses = Houses(valid, invalid)
        houses_answered(houses, Asking(), other)
        assert (houses.asks(Asking()).auth_cached() is None) == (other == said)


def test_times_have_a_limit() -> None:
    cache = SharedCache(bytearray(8192))
    for times in ((2**40, 0), (0, 2**40)):
        with pytest.raises(OverflowError, match="auth_http_cache"):
            server(auth_http_cache=(cache, *times))


# --- where -----------------------------------------------------------------------------------------


def test_no_secret_is_readable() -> None:
    """Neither the client's, nor the backend's, nor who has logged in."""
    memory = bytearray(32768)
    asked = cached(cache=SharedCache(memory))
    secrets = b"open-sesame", b"backend-word", b"a-user-name"
    for said in (answer("OK", "Auth-Pass: backend-word"), answer("OK", "X: backend-word")):
        dialogue = Dialogue(asked)
        dialogue.feed(b"a LOGIN a-user-name open-sesame\r\n")
        dialogue.auth_cached()
        dialogue.auth_answer(said)
    assert b"192.0.2.7" in memory
    for secret in secrets:
        assert secret not in memory
        assert base64.b64encode(secret) not in memory


def test_a_flood_of_logins_stays_in_its_memory() -> None:
    """The oldest give way; the last are there."""
    cache = SharedCache(bytearray(65536))
    asked = cached(cache=cache)
    names = [f"user{number}" for number in range(5000)]
    for name in names:
        dialogue = Dialogue(asked)
        dialogue.feed(f"a LOGIN {name} secret\r\n".encode())
        assert dialogue.auth_cached() is None
        dialogue.auth_answer(NO)
    kept = []
    for name in names:
        dialogue = Dialogue(asked)
        dialogue.feed(f"a LOGIN {name} secret\r\n".encode())
        if dialogue.auth_cached() is not None:
            kept.append(name)
    assert names[-1] in kept
    assert names[0] not in kept
    assert 200 < len(kept) < 1000
    assert cache.stats() == {"stored": 5000, "hits": len(kept), "misses": 10_000 - len(kept)}


def test_processes_share_it() -> None:
    """Workers inherit the server's secret and its memory."""
    asked = cached(cache=SharedCache(mmap.mmap(-1, 32768)))

    def ask() -> Dialogue:
        dialogue = Dialogue(asked)
        dialogue.feed(b"a LOGIN user secret\r\n")
        return dialogue

    child = os.fork()
    if child == 0:
        dialogue = ask()
        unknown = dialogue.auth_cached() is None
        dialogue.auth_answer(answer("no", "Auth-Wait: 2"))
        os._exit(0 if unknown else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert ask().auth_cached() == ("rejected", b"a NO no\r\n", 2000)


def test_without_it_everything_is_asked() -> None:
    asked = server()
    for _ in range(2):
        dialogue = Dialogue(asked)
        dialogue.feed(b"a LOGIN user secret\r\n")
        assert dialogue.auth_cached() is None
        dialogue.auth_answer(answer())
