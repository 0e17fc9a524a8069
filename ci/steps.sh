# Sourced by the scripts beside it.

# `step TEXT COMMAND...` runs a command quietly: one line for each step, the command's whole output if it fails.

step() {
    local text=$1 started=$SECONDS file log status=0
    shift
    file=$(mktemp)
    exec {log}<>"$file"
    rm "$file" # nothing is left behind, whatever happens
    printf '%s ... ' "$text"
    "$@" </dev/null >&"$log" 2>&1 || status=$?
    if ((status == 0)); then
        printf 'ok (%ds)\n' $((SECONDS - started))
    else
        printf 'FAILED (exit %d)\n' "$status"
        cat "/dev/fd/$log" # from its beginning
    fi
    exec {log}>&-
    return "$status"
}

# Options of pytest that run test files side by side: most tests wait most of the time.
workers=$((4 * $(nproc)))
side_by_side=(-n $((workers < 16 ? workers : 16)) --dist loadfile)

# Copies the tree, as git knows it or would add it, to a directory. Files keep their times.
copy_tree() {
    git ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' file; do
            if [[ -e $file ]]; then printf '%s\0' "$file"; fi
        done | xargs -0 cp --parents --preserve=mode,timestamps -t "$1"
}
