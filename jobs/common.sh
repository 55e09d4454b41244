# shellcheck shell=bash
# Sourced by the job scripts: arguments checked before anything starts, signals handed on,
# requeueing.

# A batch system may send TERM to mpirun itself, which then kills its ranks after twice so many
# seconds. Its own default, 1, is too short for a step and a checkpoint.
# shellcheck disable=SC2034
patient=(--mca odls_base_sigkill_timeout 10)

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

# cores_per_task: the cores of a task of this job. Slurm counts CPUs, which on nodes whose cores have
# several hardware threads are those of the threads, or the cores, as the site has set it up.
cores_per_task() {
    local cpus=${SLURM_CPUS_PER_TASK:-1} node all sockets cores per_core=1
    node=$(scontrol --oneliner show node "${SLURMD_NODENAME:-$(hostname -s)}" 2>/dev/null)
    all=$(number CPUTot "$node") sockets=$(number Sockets "$node")
    cores=$((sockets * $(number CoresPerSocket "$node")))
    [ "$cores" -eq 0 ] || [ "$all" -lt "$cores" ] || per_core=$((all / cores))
    echo $(((cpus + per_core - 1) / per_core))
}

# number NAME TEXT: the number in NAME=NUMBER among the words of a text; 0 if there is none.
number() {
    [[ " $2 " =~ [[:space:]]$1=([0-9]+)[[:space:]] ]] && echo "$((10#${BASH_REMATCH[1]}))" || echo 0
}

# run_until_told SIGNAL COMMAND...: run a command to its end, and hand on to it, as SIGNAL, what the
# batch system says: USR1 before the time limit, TERM when it pre-empts. Returns the command's code;
# 75 (which train_hvd.py itself returns when it has stopped safely) also where the signal ended a
# command that does not listen, or not yet.
run_until_told() {
    local signal=$1 child='' code
    shift
    told=''
    trap 'told=USR1; [ -z "$child" ] || kill -s "$signal" "$child" 2>/dev/null' USR1
    trap 'told=TERM; [ -z "$child" ] || kill -s "$signal" "$child" 2>/dev/null' TERM
    "$@" &
    child=$!
    [ -z "$told" ] || kill -s "$signal" "$child" 2>/dev/null
    # A trapped signal ends `wait`, but not the command.
    while
        wait "$child"
        kill -0 "$child" 2>/dev/null
    do :; done
    wait "$child" # again: the shell remembers the code of the command itself
    code=$?
    trap - USR1 TERM
    [ -z "$told" ] || [ "$code" -le 128 ] || code=75
    return "$code"
}

# Put this Slurm job back into the queue if it was USR1 that told it to stop. TERM comes from Slurm
# itself, which requeues what it pre-empts; what was cancelled must stay so, and Slurm would let a job
# requeue itself even then.
requeue() {
    [ "$told" = USR1 ] || return
    echo "$(basename "$0"): told to stop; back into the queue"
    scontrol requeue "$SLURM_JOB_ID" && sleep infinity # Slurm ends this script when it requeues
}
