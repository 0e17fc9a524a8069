# Sourced by scripts beside it, in the tree's top directory.
#
# `build_copy NAME VARIABLE` builds the engine with VARIABLE=1 (see setup.py) in a copy of the tree, .cache/NAME, so
# that the usual build stays as it is, and goes there. It leaves $top (the tree), $copy, and $reports, empty and writable
# by everybody: workers that run as another user report too.
#
# `wrap_python ASSIGNMENTS` makes $site/python, which sets variables and becomes Python, and $site/sitecustomize.py, by
# which each Python starts others like itself where $site is in PYTHONPATH.
top=$PWD
[[ -x .venv/bin/python ]] || ci/setup test || exit 1

# What was compiled stays, so that only what has changed is compiled again.
copy_sources() {
    mkdir -p "$copy" &&
        find "$copy" -type f ! -path "$copy/build/*" ! -name '_speedups*.c' ! -name '*.so' -delete &&
        copy_tree "$copy"
}
build_here() { env "$1=1" FASTMAIL_WERROR=1 "$top/.venv/bin/python" setup.py -q build_ext --inplace; }

build_copy() {
    copy=$top/.cache/$1
    site=$copy/build/site
    reports=$copy/reports
    step "Copying the tree" copy_sources || exit 1
    cd "$copy" || exit 1
    step "Building with $2" build_here "$2" || exit 1
    rm -rf "$reports"
    install -d -m 1777 "$reports"
}

wrap_python() {
    mkdir -p "$site"
    printf '#!/bin/sh\n%s exec "%s" "$@"\n' "$1" "$top/.venv/bin/python" >"$site/python"
    chmod +x "$site/python"
    printf 'import sys\n\nsys.executable = "%s"\n' "$site/python" >"$site/sitecustomize.py"
}
