"""fastmail.auth over TLS: whom it trusts, and what it says of the others."""

import asyncio
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.aiohttp_auth import OK, TIMEOUT, Engine, Server, answering, ask, at, request, run
from support.certificate import Certificate
from support.pki import Authority

from fastmail._speedups import AUTH_CLOSED
from fastmail.auth.client import AuthClient
from fastmail.config.auth_tls import trust


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def test_https_with_a_trusted_certificate(certificate: Certificate) -> None:
    data = request(b"Auth-User: u")
    outcomes, server = ask(OK, data, tls=certificate.server_context(), trusted=trust(str(certificate.path)))
    assert (outcomes, server.requests) == ([OK], [data])


def test_https_trusts_authorities_of_old(tmp_path: Path) -> None:
    """As OpenSSL does by default, whatever Python's defaults are."""
    authority = Authority(tmp_path, "ca", old=True)
    files = authority.issue("auth.test", names=["auth.test", "127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    assert ask(OK, request(), tls=context, trusted=trust(str(authority.path)))[0] == [OK]


def test_https_trusts_what_ssl_cert_file_names(certificate: Certificate) -> None:
    with environment("SSL_CERT_FILE", str(certificate.path)):
        trusted = trust()
    assert ask(OK, request(), tls=certificate.server_context(), trusted=trusted)[0] == [OK]


def test_https_refuses_an_unknown_certificate(certificate: Certificate) -> None:
    (outcome,), server = ask(
        OK, request(b"Auth-Pass: secret"), tls=certificate.server_context(), trusted=trust()
    )
    assert server.requests == []
    reason, message = outcome
    assert reason == AUTH_CLOSED
    assert isinstance(message, bytes)
    assert message.endswith(b" sent a bad certificate: self-signed certificate")


def test_https_refuses_a_certificate_for_another_name(certificate: Certificate) -> None:
    async def test() -> None:
        server = Server(lambda reader, writer: answering(OK)(server)(reader, writer))
        there = await server.start(certificate.server_context())
        for host, good in (("auth.test", True), ("other.test", False)):
            engine = Engine()
            client = AuthClient(
                engine, at(there.address[1], "https", host), timeout=TIMEOUT, keepalive=0,  # type: ignore[arg-type]
                tls=trust(str(certificate.path)), error=print,
            )  # fmt: skip
            client.ask(0, request())
            outcome = await engine.outcome(0)
            assert (outcome == OK) is good
            await client.close()
        assert len(server.requests) == 1
        await server.stop()

    run(test)


def test_https_to_a_plain_server_fails_in_order(certificate: Certificate) -> None:
    async def test() -> None:
        server = Server(lambda reader, writer: garbage(reader, writer))

        async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        there = await server.start()
        engine = Engine()
        client = AuthClient(
            engine, at(there.address[1], "https"), timeout=TIMEOUT, keepalive=0, tls=trust(), error=print,  # type: ignore[arg-type]
        )  # fmt: skip
        client.ask(0, request())
        reason, message = await engine.outcome(0)
        assert reason == AUTH_CLOSED
        assert isinstance(message, bytes) and b" failed the TLS handshake: " in message
        await client.close()
        await server.stop()

    run(test)
