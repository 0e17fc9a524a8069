"""Checks that an engine is hardened: ``python ci/hardened.py FILE [--checked]``.

``--checked`` is for debug, sanitizer and coverage builds, which have no _FORTIFY_SOURCE. Names what is
missing and exits with 1 if anything is.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

_X86_64, _AARCH64 = 62, 183  # e_machine
_PT_LOAD, _PT_DYNAMIC, _PT_GNU_STACK, _PT_GNU_RELRO = 1, 2, 0x6474E551, 0x6474E552
_DT_TEXTREL, _DT_BIND_NOW, _DT_FLAGS, _DT_FLAGS_1 = 22, 24, 30, 0x6FFFFFFB
_DF_BIND_NOW, _DF_1_NOW = 8, 1
_SHT_DYNSYM = 11
_LANDING = {
    _X86_64: (b"\xf3\x0f\x1e\xfa",),  # endbr64
    _AARCH64: (b"\x3f\x23\x03\xd5", b"\x5f\x24\x03\xd5"),  # paciasp, bti c
}
"""What a function begins with that may be jumped to."""


class Engine:
    """An ELF file of 64 bits, little-endian."""

    def __init__(self, data: bytes) -> None:
        """Raises ValueError."""
        if data[:6] != b"\x7fELF\x02\x01":
            raise ValueError("not an ELF file of 64 bits, little-endian")
        self._data = data
        self.machine: int
        _, self.machine, _, _, programs, sections, _, _, size, count, section_size, section_count, _ = (
            struct.unpack_from("<HHIQQQIHHHHHH", data, 16)
        )
        # type, flags, offset, address, physical address, size in the file, size in memory, alignment
        self.segments = [struct.unpack_from("<IIQQQQQQ", data, programs + i * size) for i in range(count)]
        # name, type, flags, address, offset, size, link, info, alignment, entry size
        self._sections = [
            struct.unpack_from("<IIQQQQIIQQ", data, sections + i * section_size) for i in range(section_count)
        ]

    def dynamic(self) -> Iterator[tuple[int, int]]:
        """Tags and values."""
        for kind, _, offset, _, _, size, _, _ in self.segments:
            if kind == _PT_DYNAMIC:
                yield from struct.iter_unpack("<qQ", self._data[offset : offset + size])

    def symbols(self) -> Iterator[tuple[str, int]]:
        """Names and addresses; 0: imported."""
        for _, kind, _, _, offset, size, link, _, _, _ in self._sections:
            if kind != _SHT_DYNSYM:
                continue
            names = self._data[self._sections[link][4] :]
            entries = struct.iter_unpack("<IBBHQQ", self._data[offset : offset + size])
            for name, _, _, _, address, _ in entries:
                yield names[name : names.index(b"\0", name)].decode(), address

    def at(self, address: int, size: int) -> bytes:
        for kind, _, offset, start, _, length, _, _ in self.segments:
            if kind == _PT_LOAD and start <= address < start + length:
                return self._data[address - start + offset :][:size]
        return b""


def missing(data: bytes, *, checked: bool) -> Iterator[str]:
    """What the engine lacks. Raises ValueError if it is none."""
    engine = Engine(data)
    kinds = {segment[0]: segment[1] for segment in engine.segments}
    tags = dict(engine.dynamic())
    symbols = dict(engine.symbols())
    flags = tags.get(_DT_FLAGS, 0) & _DF_BIND_NOW or tags.get(_DT_FLAGS_1, 0) & _DF_1_NOW
    now = flags or _DT_BIND_NOW in tags
    if _PT_GNU_RELRO not in kinds or not now:
        yield "full RELRO (-z relro -z now)"
    if kinds.get(_PT_GNU_STACK, 1) & 1:
        yield "a stack that cannot be executed (-z noexecstack)"
    if _DT_TEXTREL in tags:
        yield "code that is not relocated (-fPIC)"
    if "__stack_chk_fail" not in symbols:
        yield "-fstack-protector-strong"
    if not checked and not any(_is_fortified(name) for name in symbols):
        yield "_FORTIFY_SOURCE"
    begins = _LANDING.get(engine.machine)
    if begins and not engine.at(symbols["PyInit__speedups"], 4).startswith(begins):
        yield "-fcf-protection or -mbranch-protection"


def _is_fortified(name: str) -> bool:
    return name.startswith("__") and name.endswith("_chk")


def main() -> int:
    path, *options = sys.argv[1:]
    found = list(missing(Path(path).read_bytes(), checked=options == ["--checked"]))
    for what in found:
        print(f"{path}: no {what}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
