#!/usr/bin/env bash
# sandbox.sh - a real SLURM on this one machine: to try climdask before you have an account, and
# for the tests. Everything listens on loopback.
#
#   sandbox.sh up       install what is missing, start the cluster, prove that it runs a job
#   sandbox.sh down     cancel the cluster's jobs and end the daemons that `up` started
#   sandbox.sh status   what runs; exit 0 only if every daemon is alive
#   sandbox.sh env      print the line to eval so that sbatch, srun and Python find the cluster
#   sandbox.sh install  only the packages (Debian, Ubuntu)
#   sandbox.sh clean    down, then delete the state this script made (logs too)
#
# Typical use:
#   cluster/sandbox.sh up && eval "$(cluster/sandbox.sh env)"
#   climdask run climdask-quickstart/workflow.yaml --cluster cluster/sandbox.yaml
#   cluster/sandbox.sh down
#
# Settings (environment variables):
#   SANDBOX_DIR        state folder: configuration, key, sockets, pid files, logs
#                       (default: /tmp/climdask-slurm-<uid>; short absolute path, no spaces)
#   SANDBOX_NODES      logical compute nodes, one slurmd each            (default 2)
#   SANDBOX_CPUS       CPUs that each node claims; may exceed the host's (default 4)
#   SANDBOX_MEM_MB     memory that each node claims, in MiB              (default 4096)
#   SANDBOX_PORT       first TCP port: controller; node i takes PORT+i   (default 16817)
#   SANDBOX_PREFIX     node names are PREFIX1, PREFIX2, ...              (default n)
#   SANDBOX_ISOLATION  auto | cgroup | pgid                              (default auto)
#                       cgroup: jobs are held in cgroup v1 groups, so nothing escapes scancel
#                               and going over --mem ends in OUT_OF_MEMORY
#                       pgid:   process groups and a polling memory check; runs anywhere
#   SANDBOX_TIMEOUT    seconds to wait for a working cluster             (default 60)
#
# Two clusters at once need their own DIR, PORT range and PREFIX.
# Needs root only to install packages and for the cgroup isolation.

# A cluster that the caller's environment points to is not ours.
unset SLURM_CONF

DIR=${SANDBOX_DIR:-/tmp/climdask-slurm-$(id -u)}
NODES=${SANDBOX_NODES:-2}
CPUS=${SANDBOX_CPUS:-4}
MEM_MB=${SANDBOX_MEM_MB:-4096}
PORT=${SANDBOX_PORT:-16817}
PREFIX=${SANDBOX_PREFIX:-n}
ISOLATION=${SANDBOX_ISOLATION:-auto}
TIMEOUT=${SANDBOX_TIMEOUT:-60}

CONF=$DIR/etc/slurm.conf
MUNGE_SOCK=$DIR/munge/munge.sock
CGROOT=/sys/fs/cgroup

# shellcheck source=cluster/sandboxlib.sh
. "$(dirname "$0")/sandboxlib.sh" || exit 1

# ---------------------------------------------------------------- settings

check_settings() {
    check_numbers NODES CPUS MEM_MB PORT TIMEOUT
    check_dir
    # slurmstepd makes sockets below DIR, and a socket's path has about 108 characters at most.
    (( ${#DIR} <= 64 )) || fail "SANDBOX_DIR is too long for the sockets below it (64 characters at most): $DIR"
    [[ $PREFIX =~ ^[a-z][a-z0-9]*$ ]] || fail "SANDBOX_PREFIX must be lower-case letters and digits: $PREFIX"
    [[ $PREFIX =~ [a-z]$ ]] || fail "SANDBOX_PREFIX must end in a letter: $PREFIX"
    case $ISOLATION in auto|cgroup|pgid) ;; *) fail "SANDBOX_ISOLATION: auto, cgroup or pgid" ;; esac
    (( MEM_MB >= 128 )) || fail "SANDBOX_MEM_MB: 128 at least"
    (( PORT + NODES < 65536 )) || fail "ports above 65535"
}

node_names() { local i; for ((i = 1; i <= NODES; i++)); do echo "$PREFIX$i"; done; }

# ---------------------------------------------------------------- packages

have_packages() { have_programs munged slurmctld slurmd sbatch srun scancel squeue sinfo scontrol; }

install_packages() { have_packages || apt_install SLURM slurmctld slurmd slurm-client munge; }

# ---------------------------------------------------------------- processes

is_ours() { grep -qzF -- "$DIR/" "/proc/$1/cmdline" 2>/dev/null; }

pid_file() {   # munged | slurmctld | a node's name
    case $1 in
        munged|slurmctld) echo "$DIR/run/$1.pid" ;;
        *)                echo "$DIR/run/slurmd-$1.pid" ;;
    esac
}

# Daemons of an earlier `up`, whatever its settings were: go by the pid files that are there.
known_daemons() {
    local f
    for f in "$DIR"/run/slurmd-*.pid; do [[ -e $f ]] && basename "$f" .pid | sed 's/^slurmd-//'; done
    echo slurmctld
    echo munged
}

# ---------------------------------------------------------------- configuration

# cgroup v1 with writable freezer, memory and cpuacct hierarchies? Asked by trying.
cgroup_v1_usable() {
    local c d
    [[ $(id -u) -eq 0 ]] || return 1
    for c in freezer memory cpuacct; do
        d=$CGROOT/$c/sandbox-probe.$$
        mkdir "$d" 2>/dev/null && [[ -e $d/cgroup.procs ]] || { rmdir "$d" 2>/dev/null; return 1; }
        rmdir "$d" || return 1
    done
}

write_conf() {   # into folder $1
    local out=$1 iso=$ISOLATION i name
    if [[ $iso = auto ]]; then
        if cgroup_v1_usable; then iso=cgroup; else iso=pgid; fi
    fi
    {
        cat <<EOF
# Written by sandbox.sh ($iso isolation). Changes are lost.
ClusterName=sandbox
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=$ME
SlurmdUser=$ME
AuthType=auth/munge
AuthInfo=socket=$MUNGE_SOCK
CredType=cred/munge
# Listen on the addresses named here (loopback), not on every interface.
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny

StateSaveLocation=$DIR/state
SlurmctldPidFile=$DIR/run/slurmctld.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdSpoolDir=$DIR/spool/%n
SlurmdPidFile=$DIR/run/slurmd-%n.pid
SlurmdLogFile=$DIR/log/slurmd-%n.log

# Nodes have the CPUs and memory written here, whatever the hardware has.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SwitchType=switch/none
MpiDefault=none

# Start jobs at once; the defaults wait seconds, for the sake of big clusters.
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=5
# What can never run is refused by sbatch instead of pending for ever.
EnforcePartLimits=ALL
KillWait=5
MessageTimeout=30
SlurmdTimeout=60
ReturnToService=2
PropagateResourceLimits=NONE
MailProg=/bin/true

AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$DIR/log/jobcomp.txt
JobAcctGatherFrequency=task=2
EOF
        if [[ $iso = cgroup ]]; then
            echo "ProctrackType=proctrack/cgroup"
            echo "TaskPlugin=task/cgroup"
            echo "JobAcctGatherType=jobacct_gather/cgroup"
        else
            # pgid, not linuxproc: linuxproc follows parents, and loses a worker whose batch
            # shell dies first.
            echo "ProctrackType=proctrack/pgid"
            echo "TaskPlugin=task/none"
            echo "JobAcctGatherType=jobacct_gather/linux"
            echo "JobAcctGatherParams=OverMemoryKill"
        fi
        echo
        for ((i = 1; i <= NODES; i++)); do
            name=$PREFIX$i
            echo "NodeName=$name NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$((PORT + i)) CPUs=$CPUS RealMemory=$MEM_MB State=UNKNOWN"
        done
        # Without DefMemPerCPU a job that asks for no memory gets all of a node's. The second
        # partition has a limit to run into.
        echo "PartitionName=short Nodes=ALL MaxTime=10 DefMemPerCPU=$((MEM_MB / CPUS > 0 ? MEM_MB / CPUS : 1)) State=UP"
        echo "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=$((MEM_MB / CPUS > 0 ? MEM_MB / CPUS : 1)) State=UP"
    } >"$out/slurm.conf"
    if [[ $iso = cgroup ]]; then
        # CPUs are claimed, not real, so they are not pinned (no ConstrainCores).
        printf '%s\n' CgroupPlugin=cgroup/v1 "CgroupMountpoint=$CGROOT" ConstrainRAMSpace=yes >"$out/cgroup.conf"
    fi
}

configured_nodes() { sed -n 's/^NodeName=\([^ ]*\) .*/\1/p' "$CONF"; }
isolation_in_use() { sed -n 's/^ProctrackType=proctrack\///p' "$CONF" 2>/dev/null; }

check_host() {
    local addr
    addr=$(host_address) || exit 1
    [[ $addr == 127.* ]] || say "note: $HOST resolves to $addr, so srun listens there and not on loopback"
}

# ---------------------------------------------------------------- verbs

do_env() { printf 'export SLURM_CONF=%q\n' "$CONF"; }

do_status() {
    local d pid bad=0
    [[ -r $CONF ]] || { say "no cluster in $DIR"; return 1; }
    # Nodes as configured, so that a node whose pid file is gone counts as dead.
    for d in munged slurmctld $(configured_nodes); do
        if pid=$(live_pid "$(pid_file "$d")"); then say "$d: pid $pid"; else say "$d: not running"; bad=1; fi
    done
    if alive slurmctld; then
        SLURM_CONF=$CONF timeout 20 sinfo -N -o '%10N %10T %5c %8m' || bad=1
        SLURM_CONF=$CONF timeout 20 squeue || bad=1
    fi
    return $bad
}

stop_all() {
    local d i ids c node left
    if [[ -r $CONF ]] && alive slurmctld; then
        ids=$(SLURM_CONF=$CONF timeout 20 squeue -h -o %A 2>/dev/null | sort -u)
        if [[ -n $ids ]]; then
            # shellcheck disable=SC2086
            SLURM_CONF=$CONF timeout 20 scancel $ids 2>/dev/null
            # Job processes do not end with the daemons: wait for SLURM to end them (KillWait is 5 s).
            for ((i = 0; i < 150; i++)); do
                [[ -z $(SLURM_CONF=$CONF timeout 20 squeue -h -o %A 2>/dev/null) ]] && break
                sleep 0.2
            done
        fi
    fi
    for d in $(known_daemons); do stop_daemon "$d"; done
    left=$(find "$DIR/spool" -type s 2>/dev/null | head -n 5)
    if [[ -n $left ]]; then say "note: job steps may have outlived the cluster: $left" >&2; fi
    # The empty groups that the cgroup isolation leaves behind (rmdir takes only empty ones).
    if [[ $(isolation_in_use) = cgroup ]]; then
        for node in $(configured_nodes); do
            for c in freezer memory cpuacct cpuset devices cpu; do
                [[ -d $CGROOT/$c/slurm_$node ]] &&
                    find "$CGROOT/$c/slurm_$node" -depth -type d -exec rmdir {} \; 2>/dev/null
            done
        done
    fi
    return 0
}

start_failed() { up_failed "$1" "$DIR"/munge/munged.log "$DIR"/log/slurmctld.log "$DIR"/log/slurmd-*.log; }

do_up() {
    local t0=$SECONDS node new all_alive=1 some_alive='' end seen i
    install_packages
    local t1=$SECONDS
    check_host

    new=$(mktemp -d "$DIR/etc.new.XXXXXX") || fail "cannot write in $DIR"
    write_conf "$new"

    for node in munged slurmctld $(node_names); do
        if alive "$node"; then some_alive=1; else all_alive=; fi
    done
    for node in $(known_daemons); do if alive "$node"; then some_alive=1; fi; done

    if [[ -n $some_alive ]] && ! diff -rq "$new" "$DIR/etc" >/dev/null 2>&1; then
        rm -rf "$new"
        fail "a cluster with other settings runs in $DIR: end it first with 'down'"
    fi
    if [[ -n $all_alive ]] && SLURM_CONF=$CONF timeout 20 scontrol ping 2>/dev/null | grep -q 'is UP'; then
        rm -rf "$new"
        say "already up ($NODES nodes, $CPUS CPUs each, isolation $(isolation_in_use))"
        return 0
    fi
    rm -rf "${DIR:?}/etc"
    mv "$new" "$DIR/etc" || fail "cannot write $DIR/etc"
    chmod 755 "$DIR/etc"

    for ((i = 0; i <= NODES; i++)); do
        node=slurmctld; (( i > 0 )) && node=$PREFIX$i
        if ! alive "$node" && port_taken $((PORT + i)); then
            start_failed "port $((PORT + i)) is taken; choose another range with SANDBOX_PORT"
        fi
    done

    if ! alive munged; then
        rm -f "$(pid_file munged)" "$MUNGE_SOCK" "$MUNGE_SOCK.lock"
        [[ -s $DIR/munge/munge.key ]] ||
            ( umask 077; head -c 1024 /dev/urandom >"$DIR/munge/munge.key" ) || fail "cannot write munge's key"
        start_daemon munged munged --key-file="$DIR/munge/munge.key" --socket="$MUNGE_SOCK" \
            --pid-file="$DIR/run/munged.pid" --log-file="$DIR/munge/munged.log" \
            --seed-file="$DIR/munge/munged.seed" || start_failed "munged did not start"
    fi
    if ! alive slurmctld; then
        rm -f "$(pid_file slurmctld)"
        # -c: forget jobs of an earlier cluster in this folder.
        start_daemon slurmctld slurmctld -c -f "$CONF" || start_failed "slurmctld did not start"
    fi
    for node in $(node_names); do
        alive "$node" && continue
        rm -f "$(pid_file "$node")"
        mkdir -p "$DIR/spool/$node"
        start_daemon "slurmd-$node" slurmd -f "$CONF" -N "$node" || start_failed "slurmd of $node did not start"
    done

    # Up means: one task ran on every node.
    end=$((SECONDS + TIMEOUT)) seen=0
    while (( SECONDS < end )); do
        # shellcheck disable=SC2016
        seen=$(SLURM_CONF=$CONF timeout 20 srun -Q -J sandbox-probe -t 1 --mem=64 -N "$NODES" -n "$NODES" \
                   bash -c 'echo $SLURMD_NODENAME' 2>"$DIR/log/probe.err" | sort -u | wc -l)
        (( seen == NODES )) && break
        sleep 0.5
    done
    (( seen == NODES )) || { cat "$DIR/log/probe.err" >&2; start_failed "no job ran on all $NODES nodes within $TIMEOUT s"; }
    say "up: $NODES nodes ($(node_names | paste -sd,)), $CPUS CPUs and $MEM_MB MiB each, isolation $(isolation_in_use)," \
        "$(slurmctld -V); packages $((t1 - t0)) s, start $((SECONDS - t1)) s"
    do_env
}

# ---------------------------------------------------------------- main

make_state() {
    mkdir -p "$DIR"/{state,spool,munge} || fail "cannot make $DIR"
    # munged refuses folders that others may write to.
    chmod 755 "$DIR" "$DIR"/{run,log,state,spool,munge} || fail "$DIR is not ours"
}

delete_state() { rm -rf "${DIR:?}"/{state,spool,munge,etc} "$DIR"/etc.new.*; }

run_verb "$@"
