"""The lexer: what is a word, and what is said of a file that is not made of statements."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmail.config.errors import ConfigError
from fastmail.config.lexer import Lexer


def read(data: bytes, name: str | None = "f") -> list[tuple[str, list[str]]]:
    lexer = Lexer(data, name)
    statements: list[tuple[str, list[str]]] = []
    while True:
        end, words = lexer.statement()
        if not end:
            return statements
        statements.append((end, words))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a b\tc\r\nd;", ["a", "b", "c", "d"]),
        (b"# comment ; { }\na;", ["a"]),
        (b"a#b c#;", ["a#b", "c#"]),
        (b"a\"b a}b a'b;", ['a"b', "a}b", "a'b"]),
        (b"${foo} x${{y} $;", ["${foo}", "x${{y}", "$"]),
        (b'"a b" \'c;{}#d\' "";', ["a b", "c;{}#d", ""]),
        (b'"a\nb";', ["a\nb"]),
        (b'"it\'s" \'say "x"\';', ["it's", 'say "x"']),
        (b'a\\;b a\\{b a\\ b "\\$x";', ["a\\;b", "a\\{b", "a\\ b", "\\$x"]),
        (b'\\"a "\\"" \'\\\'\' "\\\\";', ['"a', '"', "'", "\\"]),
        (b'"\\t\\r\\n" a\\tb \\\\t;', ["\t\r\n", "a\tb", "\\t"]),
        (b'"a")b;', ["a", ")b"]),
        (b"\xff\x00x;", ["\udcff\x00x"]),
        (b"\xef\xbb\xbfevents;", ["\ufeffevents"]),
    ],
)
def test_words(text: bytes, words: list[str]) -> None:
    assert read(text) == [(";", words)]


def test_blocks() -> None:
    assert read(b"a b{c;}d {}") == [("{", ["a", "b"]), (";", ["c"]), ("}", []), ("{", ["d"]), ("}", [])]
    assert read(b"a$b{") == [("{", ["a$b"])]


FITS = b"a" * 4094  # with the byte that ends it, and the one read next, it fills nginx's buffer
LONG = b"a" * 4096


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\n;", 'unexpected ";" in f:2'),
        (b"{", 'unexpected "{" in f:1'),
        (b"a }", 'unexpected "}" in f:1'),
        (b'"a"b;', 'unexpected "b" in f:1'),
        (b"\"a\"'b';", 'unexpected "\'" in f:1'),
        (b'"a\n\n"}', 'unexpected "}" in f:3'),
        (b"a\nb\n", 'unexpected end of file, expecting ";" or "}" in f:3'),
        (b"a", 'unexpected end of file, expecting ";" or "}" in f:1'),
        (b'a "b;\n', 'unexpected end of file, expecting ";" or "}" in f:2'),
        (b"a \\", 'unexpected end of file, expecting ";" or "}" in f:1'),
        (b"\n\n" + LONG + b";", 'too long parameter "aaaaaaaaaa..." started in f:3'),
        (LONG[1:] + b" ;", 'too long parameter "aaaaaaaaaa..." started in f:1'),
        (b'\n"' + LONG + b'";', 'too long parameter, probably missing terminating """ character in f:2'),
        (b"'" + b"\n" * 5000, 'too long parameter, probably missing terminating "\'" character in f:1'),
        (b'"' + LONG[1:] + b'";', 'too long parameter "aaaaaaaaaa..." started in f:1'),
        (b"a;\n#" + b"c" * 5000 + b"\n", 'too long parameter "#ccccccccc..." started in f:2'),
        (LONG, 'unexpected end of file, expecting ";" or "}" in f:1'),
    ],
)
def test_errors(text: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value) == message
    assert caught.value.level == "emerg"


@pytest.mark.parametrize(
    "text", [FITS + b" x;", b'"' + FITS + b'" ;', LONG[1:] + b";", b"#" + b"c" * 4094 + b"\nx;"]
)
def test_longest_words(text: bytes) -> None:
    assert len(read(text)) == 1


def test_command_line_has_no_limit_and_no_line() -> None:
    assert read(LONG * 2 + b";", None) == [(";", [LONG.decode() * 2])]
    with pytest.raises(ConfigError, match=r'^unexpected end of parameter, expecting ";" in command line$'):
        read(b"daemon off", None)


def test_skipping_a_block_reads_its_braces_quotes_and_comments() -> None:
    lexer = Lexer(b"{ a \"}\"; # }\n b { c '{'; } d ${x}; } next;"[1:], "f")
    lexer.skip_block()
    assert lexer.statement() == (";", ["next"])


def test_skipping_lua() -> None:
    code = b"""a { content_by_lua_block { local t = {["}"] = "it's"} -- don't }
        --[==[ } ]==] ngx.say([[ } ]], 'x"y') } } next;"""
    lexer = Lexer(code, "f")
    lexer.statement()
    lexer.skip_block()
    assert lexer.statement() == (";", ["next"])
    unfinished = Lexer(b"x_by_lua_block { {} }", "f")
    with pytest.raises(ConfigError, match="unexpected end of file"):
        unfinished.skip_block()


def quote(word: bytes) -> bytes:
    return b'"' + word.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=6))
def test_quoted_words_survive(words: list[bytes]) -> None:
    text = b" ".join(map(quote, words)) + b";"
    assert read(text) == [(";", [word.decode("utf-8", "surrogateescape") for word in words])]


TOKENS = st.sampled_from([b" ", b"\n", b";", b"{", b"}", b'"', b"'", b"\\", b"$", b"#", b")", b"a", b"\xff"])


@given(st.one_of(st.binary(max_size=300), st.lists(TOKENS, max_size=40).map(b"".join)))
def test_any_bytes_are_statements_or_an_error_with_a_place(data: bytes) -> None:
    try:
        read(data)
    except ConfigError as error:
        place = str(error).rpartition(" in ")[2]
        name, _, line = place.partition(":")
        assert name == "f"
        assert 1 <= int(line) <= data.count(b"\n") + 1


@given(st.lists(TOKENS, max_size=30).map(b"".join))
def test_what_stands_before_the_end_does_not_depend_on_what_follows(data: bytes) -> None:
    try:
        statements = read(data)
    except ConfigError:
        return
    assert read(data + b"\nlast;")[: len(statements)] == statements
