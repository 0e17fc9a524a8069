"""The encodings that credentials cross, by property and against Python's own."""

import re
from base64 import b64decode, b64encode
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmail._speedups import decode_base64, encode_xtext, escape_http, quote_imap

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
EVERY_BYTE = bytes(range(256))


def test_http_escapes_what_nginx_escapes() -> None:
    escaped = b"".join(b"%%%02X" % byte for byte in range(0x21))
    assert escape_http(EVERY_BYTE) == escaped + bytes(range(0x21, 0x25)) + b"%25" + bytes(range(0x26, 0x100))


@given(st.binary())
def test_http_escaping_has_an_inverse(data: bytes) -> None:
    escaped = escape_http(data)
    assert unquote_to_bytes(escaped) == data
    assert not set(escaped) & set(range(0x21))


def test_xtext_escapes_what_nginx_escapes() -> None:
    plain = set(range(0x21, 0x7F)) - set(b"+=")
    assert encode_xtext(EVERY_BYTE) == b"".join(
        bytes([byte]) if byte in plain else b"+%02X" % byte for byte in range(256)
    )


def test_xtext_of_the_reference() -> None:
    assert encode_xtext(b"us er+=\xe9%") == b"us+20er+2B+3D+E9%"


@given(st.binary())
def test_xtext_has_an_inverse(data: bytes) -> None:
    text = encode_xtext(data)
    assert re.sub(rb"\+([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), text) == data
    assert re.fullmatch(rb"([!-*,-<>-~]|\+[0-9A-F]{2})*", text)  # RFC 3461 section 4


@given(st.binary())
def test_imap_quoting_has_an_inverse(data: bytes) -> None:
    quoted = quote_imap(data)
    if quoted is None:
        assert set(data) & {0, 10, 13, *b'"\\', *range(128, 256)}
    else:
        assert re.fullmatch(rb'"[^"\\\r\n\0\x80-\xff]*"', quoted)  # RFC 3501 section 9
        assert quoted[1:-1] == data


@pytest.mark.parametrize("byte", range(256))
def test_imap_quotes_seven_bit_text_only(byte: int) -> None:
    """And nothing that would have to be escaped."""
    quotable = byte not in b'\0\n\r"\\' and byte < 128
    assert (quote_imap(b"a%cb" % byte) is not None) == quotable


@given(st.binary())
def test_base64_of_others_is_read(data: bytes) -> None:
    assert decode_base64(b64encode(data)) == data
    assert decode_base64(b64encode(data).rstrip(b"=")) == data


@given(st.binary(), st.binary())
def test_base64_ends_at_the_first_equals_sign(data: bytes, junk: bytes) -> None:
    assert decode_base64(b64encode(data).rstrip(b"=") + b"=" + junk) == data


@given(st.text(ALPHABET.decode(), max_size=40).map(str.encode))
def test_base64_digits_without_padding(text: bytes) -> None:
    if len(text) % 4 == 1:
        assert decode_base64(text) is None
    else:
        assert decode_base64(text) == b64decode(text + b"=" * (-len(text) % 4))


@pytest.mark.parametrize("byte", sorted(set(range(256)) - set(ALPHABET) - {ord("=")}))
def test_base64_of_other_bytes_is_refused(byte: int) -> None:
    assert decode_base64(b"AAAA%cAAA" % byte) is None
    assert decode_base64(b"%cAAA" % byte) is None


@pytest.mark.parametrize(
    ("text", "value"), [(b"", b""), (b"=", b""), (b"A", None), (b"A=", None), (b"AA", b"\0")]
)
def test_base64_at_its_limits(text: bytes, value: bytes | None) -> None:
    assert decode_base64(text) == value


@pytest.mark.parametrize("size", [255, 256, 257, 4096, 100_000])
def test_long_values(size: int) -> None:
    data = EVERY_BYTE * (size // 256 + 1)
    data = data[:size]
    assert decode_base64(b64encode(data)) == data
    assert unquote_to_bytes(escape_http(data)) == data
    assert quote_imap(b"x" * size) == b'"' + b"x" * size + b'"'
