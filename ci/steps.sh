# Sourced by the scripts beside it. `step TEXT COMMAND...` runs a command quietly: one line for each step,
# the command's whole output if it fails.

step() {
    local text=$1 started=$SECONDS log status=0
    shift
    log=$(mktemp)
    printf '%s ... ' "$text"
    "$@" </dev/null >"$log" 2>&1 || status=$?
    if ((status == 0)); then
        printf 'ok (%ds)\n' $((SECONDS - started))
    else
        printf 'FAILED (exit %d)\n' "$status"
        cat "$log"
    fi
    rm -f "$log"
    return "$status"
}
