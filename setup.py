"""Builds the engine, ``fastmail._speedups``; everything else is declared in pyproject.toml.

The environment chooses the kind of build. Each kind keeps what it has compiled in a directory of its own
below build/, so that nothing is compiled again when the kind changes and changes back:

FASTMAIL_DEBUG=1     -O0 -g, with bounds checks and asserts.
FASTMAIL_SANITIZE=1  AddressSanitizer and UndefinedBehaviorSanitizer (used by ci/sanitize).
FASTMAIL_COVERAGE=1  counts how often each line is run (used by ci/coverage).

FASTMAIL_WERROR=1    C compiler warnings are errors (used by ci/test). What was compiled without it is
                     compiled again; the other way round it is not.

FASTMAIL_STATIC_OPENSSL=1  OpenSSL becomes part of the engine, hidden from the rest of the process (used by
                           ci/wheels), instead of the system's being used. pkg-config says where it is.
"""

import os
import platform
import subprocess
import sys
from glob import glob
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = os.environ.get("FASTMAIL_DEBUG") == "1"
SANITIZE = os.environ.get("FASTMAIL_SANITIZE") == "1"
COVERAGE = os.environ.get("FASTMAIL_COVERAGE") == "1"
WERROR = os.environ.get("FASTMAIL_WERROR") == "1"
STATIC_OPENSSL = os.environ.get("FASTMAIL_STATIC_OPENSSL") == "1"

# The last four are what Cython's own generated code cannot avoid.
warnings = [
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-Wno-unused-function",
    "-Wno-missing-field-initializers",
    "-Wno-cast-function-type",
]

link_args: list[str] = []
if SANITIZE:
    kind = "sanitize"
    optimise = ["-O1", "-g", "-fno-omit-frame-pointer"]
    optimise += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    link_args = ["-fsanitize=address,undefined"]
elif COVERAGE:
    kind = "coverage"
    optimise = ["-O0", "-g", "--coverage", "-fprofile-update=atomic"]  # engine and Python count at once
    link_args = ["--coverage"]
elif DEBUG:
    kind = "debug"
    optimise = ["-O0", "-g"]
else:
    kind = "release"
    optimise = ["-O3", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3"]  # an older libc takes 3 for 2
    warnings.append("-Wno-unused-variable")  # what an assert that is left out leaves behind

# What a fault in the engine could be turned into; ci/hardened.py checks that the engine has it all.
branches = {"x86_64": ["-fcf-protection=full"], "aarch64": ["-mbranch-protection=standard"]}
hardening = ["-fstack-protector-strong", *branches.get(platform.machine(), [])]
link_args += ["-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack"]

checked = DEBUG or SANITIZE or COVERAGE
directives = {
    "language_level": 3,
    "boundscheck": checked,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": checked,
}
compile_args = [*optimise, *hardening, *warnings]
macros: list[tuple[str, str | None]] = [] if checked else [("CYTHON_WITHOUT_ASSERTIONS", None)]
macros.append(("FASTMAIL_STATIC_OPENSSL", str(int(STATIC_OPENSSL))))


def static_openssl() -> tuple[list[str], list[str]]:
    """What the compiler and the linker need to know."""
    command = ["pkg-config", "--static", "libssl", "libcrypto"]
    try:
        headers, libraries = (
            subprocess.run([*command, what], check=True, stdout=subprocess.PIPE, text=True).stdout.split()
            for what in ("--cflags", "--libs")
        )
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"FASTMAIL_STATIC_OPENSSL=1: {error}")
    archives = {"-lssl": "-l:libssl.a", "-lcrypto": "-l:libcrypto.a"}
    # The interpreter has a libssl of its own: neither may find the other's functions.
    return headers, [*(archives.get(word, word) for word in libraries), "-Wl,--exclude-libs,ALL"]


if STATIC_OPENSSL:
    kind += "-static-openssl"
    headers, archives = static_openssl()
    compile_args += headers
    link_args += archives


def flags_file() -> tuple[str, bool]:
    """A file that changes when the flags of this kind do, so that the extension is rebuilt then."""
    path = Path(directory, "flags")
    text = f"{compile_args}\n{link_args}\n{macros}\n{directives}\n"
    changed = not path.exists() or path.read_text() != text
    if changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(path), changed


class Build(build_ext):
    def build_extension(self, ext: Extension) -> None:
        """Compile once more what was compiled without -Werror when that is wanted now."""
        built, strict = Path(self.get_ext_fullpath(ext.name)), Path(directory, "strict")
        before = built.stat().st_mtime_ns if built.exists() else 0
        if WERROR:
            ext.extra_compile_args.append("-Werror")
            self.force = self.force or not strict.exists()
        super().build_extension(ext)
        if built.stat().st_mtime_ns != before:
            strict.unlink(missing_ok=True)
            if WERROR:
                strict.touch()

    def copy_extensions_to_source(self) -> None:
        """Put this kind in place, which may be older than the one that is there."""
        self.force = True
        super().copy_extensions_to_source()


directory = f"build/{kind}"
flags, flags_changed = flags_file()
extension = Extension(
    "fastmail._speedups",
    ["fastmail/_speedups.pyx", *(["ci/write_counts.c"] if COVERAGE else [])],
    depends=[*sorted(glob("fastmail/engine/*.p[yx][xdi]")), flags],
    extra_compile_args=compile_args,
    extra_link_args=link_args,
    libraries=[] if STATIC_OPENSSL else ["ssl", "crypto"],
    define_macros=macros,
)
setup(
    ext_modules=cythonize(
        [extension],
        build_dir=directory,
        compiler_directives=directives,
        emit_linenums=checked,  # gdb, the sanitizers and gcov name lines of .pyx files then
        force=flags_changed,
    ),
    cmdclass={"build_ext": Build},
    options={"build": {"build_base": directory}},
)
