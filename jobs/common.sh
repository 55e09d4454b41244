# Sourced by the job scripts: arguments checked before anything starts, signals handed on, requeueing.

die() {
    echo "$(basename "$0"): error: $*" >&2
    exit 2
}

check_program() {
    # The environment's own mpirun and python come first, as `make setup` left them.
    root=${CLOUDMASK_ROOT:-${SLURM_SUBMIT_DIR:-${LS_SUBCWD:-$PWD}}}
    [ -f "$root/train_hvd.py" ] ||
        die "$root holds no train_hvd.py; submit from the project's folder or set CLOUDMASK_ROOT"
    [ -x "$root/.venv/bin/python" ] || die "$root/.venv is missing; run 'make setup' there first"
    export PATH="$root/.venv/bin:$PATH"
    cd "$root" || exit 2
}

check_patches() {
    [ -f "$1/manifest.json" ] || die "$1 is no patch set (no manifest.json); run 'cloudmask prepare'"
}

# Run a command so that USR1 (before the time limit) and TERM (pre-emption) reach every rank: mpirun
# and srun hand USR1 on. The ranks finish their step, rank 0 writes a checkpoint, and all exit with
# code 75. Returns the command's code.
run_until_told() {
    "$@" &
    child=$!
    trap 'kill -USR1 "$child" 2>/dev/null' USR1 TERM
    while :; do
        wait "$child"
        code=$?
        # A trapped signal ends `wait` too; the command itself may still be running.
        kill -0 "$child" 2>/dev/null || break
    done
    trap - USR1 TERM
    return "$code"
}
