# Sourced by scripts beside it, in the tree's top directory: builds the engine with AddressSanitizer and
# UndefinedBehaviorSanitizer in a copy of the tree (copied.sh), goes there, and leaves the environment in which
# "$site/python" runs it and reports to $reports.
. ci/copied.sh
build_copy sanitize FASTMAIL_SANITIZE
# Python's own allocator would hide overruns and uses after free. A leak is found when a process ends, too
# late for its exit status to be understood: the reports decide. intercept_tls_get_addr=0: a block of a thread's
# variables 16 bytes into a page is believed to follow a header of old glibc's, and the search for leaks dies of
# following the pointer in it.
export PYTHONMALLOC=malloc
export PYTHONPATH=$site:$copy
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:intercept_tls_get_addr=0:log_path=$reports/report
export LSAN_OPTIONS=exitcode=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:log_path=$reports/report
# AddressSanitizer has to be loaded before Python, but not into the other programs that the tests start
# (curl hangs with it): each Python drops LD_PRELOAD, and starts others like itself through this wrapper. The new
# binary of an upgrade, and what a machine's manager starts, is given next to no environment.
wrap_python "export PYTHONMALLOC=$PYTHONMALLOC PYTHONPATH=$site:$copy\${PYTHONPATH:+:\$PYTHONPATH}
export ASAN_OPTIONS=\${ASAN_OPTIONS-$ASAN_OPTIONS} LSAN_OPTIONS=$LSAN_OPTIONS UBSAN_OPTIONS=$UBSAN_OPTIONS
LD_PRELOAD=$(gcc -print-file-name=libasan.so)"
cat >>"$site/sitecustomize.py" <<'SITE'
import os

os.environ.pop("LD_PRELOAD", None)
SITE

# Prints what the sanitizers have reported; fails if there is anything. A worker looks for leaks before it
# ends, with Python still running: what that holds on its stacks looks like a leak, and is none of the engine's.
reported() {
    local status=0 report
    for report in "$reports"/report.*; do
        if [[ -e $report ]] && ! { grep -q "detected memory leaks" "$report" && ! grep -q _speedups "$report"; }; then
            status=1
            echo "--- ${report##*/}"
            head -c 20000 "$report"
        fi
    done
    return "$status"
}
