#!/usr/bin/env bash
# sandbox-sge.sh - a real Grid Engine on this one machine, as sandbox.sh is a real SLURM: to try a
# profile of kind sge, and for the tests. Not for a machine that others use: its daemons listen on
# every interface, and without further setup Grid Engine believes its clients who they are.
#
#   sandbox-sge.sh up       install what is missing, start the cluster, prove that it runs a job
#   sandbox-sge.sh down     delete the cluster's jobs and end the daemons that `up` started
#   sandbox-sge.sh status   what runs; exit 0 only if every daemon is alive
#   sandbox-sge.sh env      print the lines to eval so that qsub, qstat and Python find the cluster
#   sandbox-sge.sh install  only the packages (Debian, Ubuntu)
#   sandbox-sge.sh clean    down, then delete the state this script made (logs too)
#
# Typical use:
#   cluster/sandbox-sge.sh up && eval "$(cluster/sandbox-sge.sh env)"
#   climdask run climdask-quickstart/workflow.yaml --cluster cluster/sandbox-sge.yaml
#   cluster/sandbox-sge.sh down
#
# Settings (environment variables):
#   SANDBOX_DIR      state folder: configuration, spool, pid files, logs
#                     (default: /tmp/climdask-sge-<uid>; absolute path, no spaces)
#   SANDBOX_SLOTS    slots of the one host; may exceed its CPUs            (default 8)
#   SANDBOX_PORT     first of two TCP ports: qmaster and execd             (default 16444)
#   SANDBOX_TIMEOUT  seconds to wait for a working cluster                 (default 60)
#
# Its queue is main.q, its parallel environment smp. Two clusters at once need their own DIR and
# PORT range. Needs root only to install packages.

DIR=${SANDBOX_DIR:-/tmp/climdask-sge-$(id -u)}
SLOTS=${SANDBOX_SLOTS:-8}
PORT=${SANDBOX_PORT:-16444}
TIMEOUT=${SANDBOX_TIMEOUT:-60}

# shellcheck source=cluster/sandboxlib.sh
. "$(dirname "$0")/sandboxlib.sh" || exit 1

ROOT=$DIR/root
COMMON=$ROOT/default/common
SPOOL=$DIR/spool
LIB=/usr/lib/gridengine
SHARE=/usr/share/gridengine

# ---------------------------------------------------------------- settings

check_settings() {
    check_numbers SLOTS PORT TIMEOUT
    check_dir
    (( PORT + 1 < 65536 )) || fail "ports above 65535"
}

# Runs a program of Grid Engine that is to find this cluster, and nothing else: what is in the
# caller's environment would come into every job.
sge() {
    env -i PATH="$PATH" HOME="$HOME" LANG=C.UTF-8 SGE_ROOT="$ROOT" SGE_CELL=default \
        SGE_QMASTER_PORT="$PORT" SGE_EXECD_PORT="$((PORT + 1))" "$@"
}

# ---------------------------------------------------------------- packages

have_packages() { have_programs sge_qmaster sge_execd qsub qstat qdel qconf; }

install_packages() {
    local packages=(gridengine-master gridengine-exec gridengine-client)
    have_packages && return 0
    # They want to send mail: a program that can, instead of a mail server.
    command -v sendmail >/dev/null || packages+=(msmtp-mta)
    # No cluster of their own beside ours.
    if command -v debconf-set-selections >/dev/null && [[ $(id -u) -eq 0 ]]; then
        echo "gridengine-common shared/gridengineconfig boolean false" | debconf-set-selections
    fi
    apt_install "Grid Engine" "${packages[@]}"
}

# ---------------------------------------------------------------- processes

is_ours() { grep -qzxF "SGE_ROOT=$ROOT" "/proc/$1/environ" 2>/dev/null; }

# Grid Engine writes its own pid files late, execd only once it has been heard by qmaster.
pid_file() {   # qmaster | execd
    local pid
    for pid in $(pgrep -x "sge_$1"); do
        if is_ours "$pid"; then echo "$pid" >"$DIR/run/$1.pid"; fi
    done
    echo "$DIR/run/$1.pid"
}

# ---------------------------------------------------------------- configuration

# Prints a configuration with some of its lines replaced: changed FILE KEY VALUE [KEY VALUE ...]
changed() {
    local file=$1 text
    shift
    text=$(cat "$file")
    while (( $# )); do
        text=$(awk -v key="$1" -v value="$2" '$1 == key {$0 = key " " value} {print}' <<<"$text")
        shift 2
    done
    printf '%s\n' "$text"
}

write_conf() {
    local address
    address=$(host_address) || exit 1
    [[ $address == 127.* ]] || say "note: $HOST resolves to $address, so Grid Engine talks through that and not through loopback"
    rm -rf "$ROOT" "$SPOOL"
    mkdir -p "$COMMON" "$SPOOL"/{qmaster/job_scripts,execd} || fail "cannot write in $DIR"
    ln -s "$SHARE/util" "$ROOT/util"
    echo "$HOST" >"$COMMON/act_qmaster"
    # The host has one name, whichever of its names an address is resolved to.
    echo "$HOST localhost $(getent hosts "$address" | cut -d' ' -f2-)" | tr -s ' ' '\n' | awk '!seen[$0]++' |
        paste -sd' ' >"$COMMON/host_aliases"
    cat >"$COMMON/bootstrap" <<END
admin_user              $( (( $(id -u) )) && echo "$ME" || echo none )
default_domain          none
ignore_fqdn             true
spooling_method         classic
spooling_lib            libspoolc
spooling_params         $COMMON;$SPOOL/qmaster
binary_path             /usr/sbin
qmaster_spool_dir       $SPOOL/qmaster
security_mode           none
listener_threads        2
worker_threads          2
scheduler_threads       1
END
    sge "$LIB/spoolinit" classic libspoolc "$COMMON;$SPOOL/qmaster" init &&
        sge "$LIB/spooldefaults" complexes "$SHARE/util/resources/centry" &&
        sge "$LIB/spooldefaults" usersets "$SHARE/util/resources/usersets" &&
        sge "$LIB/spooldefaults" managers "$ME" || return 1
    # A group of its own marks each process of a job, so that nothing escapes qdel.
    changed "$SHARE/default-configuration" execd_spool_dir "$SPOOL/execd" mailer /bin/true \
        min_uid 0 min_gid 0 load_report_time 00:00:02 execd_params ENABLE_ADDGRP_KILL=true \
        gid_range "$((100000 + 100 * PORT))-$((100099 + 100 * PORT))" >"$COMMON/configuration"
}

# What only a running qmaster takes.
configure() {
    # Start jobs at once; the default looks every 15 s, for the sake of big clusters.
    sge qconf -ssconf >"$DIR/run/found" || return 1
    changed "$DIR/run/found" schedule_interval 0:0:1 flush_submit_sec 1 flush_finish_sec 1 >"$DIR/run/wanted"
    sge qconf -Msconf "$DIR/run/wanted" || return 1
    cat >"$DIR/run/wanted" <<'END'
pe_name            smp
slots              99999
user_lists         NONE
xuser_lists        NONE
start_proc_args    NONE
stop_proc_args     NONE
allocation_rule    $pe_slots
control_slaves     FALSE
job_is_first_task  TRUE
urgency_slots      min
accounting_summary FALSE
qsort_args         NONE
END
    sge qconf -Ap "$DIR/run/wanted" || return 1
    sge qconf -as "$HOST" || return 1
    # qconf shows in an editor what a new queue would be. A busy host still gets jobs: its slots
    # are claimed, not real. The shell is Grid Engine's own default, which catches scripts that
    # do not ask for theirs; Debian has another.
    changed <(sge EDITOR=cat qconf -aq main.q 2>/dev/null) hostlist "$HOST" load_thresholds NONE \
        pe_list smp slots "$SLOTS" shell /bin/csh | grep -E '^[a-z_]+ ' >"$DIR/run/wanted"
    sge qconf -Aq "$DIR/run/wanted"
}

# ---------------------------------------------------------------- verbs

# What runs was started with these settings, whatever the caller's are now.
as_started() {
    [[ -r $DIR/settings ]] || return 0
    read -r SLOTS PORT <"$DIR/settings"
}

do_env() {
    as_started
    printf 'export SGE_ROOT=%q SGE_CELL=default SGE_QMASTER_PORT=%d SGE_EXECD_PORT=%d\n' \
        "$ROOT" "$PORT" "$((PORT + 1))"
}

do_status() {
    local d pid bad=0
    as_started
    [[ -r $COMMON/bootstrap ]] || { say "no cluster in $DIR"; return 1; }
    for d in qmaster execd; do
        if pid=$(live_pid "$(pid_file "$d")"); then say "$d: pid $pid"; else say "$d: not running"; bad=1; fi
    done
    if alive qmaster; then
        sge timeout 20 qhost -q || bad=1
        sge timeout 20 qstat -u '*' || bad=1
    fi
    return $bad
}

stop_all() {
    local i pid
    as_started
    if alive qmaster; then
        sge timeout 20 qdel -u '*' >/dev/null 2>&1
        # Job processes do not end with the daemons: wait for Grid Engine to end them.
        for ((i = 0; i < 150; i++)); do
            [[ -z $(sge timeout 20 qstat -u '*' 2>/dev/null) ]] && break
            sleep 0.2
        done
    fi
    stop_daemon execd
    # It takes 7 s to end by itself, for the sake of its records, which `up` makes anew.
    if pid=$(live_pid "$(pid_file qmaster)"); then kill -KILL "$pid"; fi
    if pgrep -f "^sge_shepherd.*$DIR/" >/dev/null; then say "note: jobs may have outlived the cluster" >&2; fi
    return 0
}

start_failed() { up_failed "$1" "$SPOOL/qmaster/messages" "$SPOOL"/execd/*/messages "$DIR/log/configure"; }

wait_until() {   # a command
    local end=$((SECONDS + TIMEOUT))
    until "$@"; do
        (( SECONDS < end )) || return 1
        sleep 0.1
    done
}

answers() { alive qmaster && sge qconf -sh >/dev/null 2>&1; }

probe_ran() { [[ -e $DIR/run/ran && -z $(sge qstat) ]]; }

do_up() {
    local t0=$SECONDS t1 port settings="$SLOTS $PORT"
    install_packages
    t1=$SECONDS
    if alive qmaster || alive execd; then
        [[ $(cat "$DIR/settings" 2>/dev/null) == "$settings" ]] ||
            fail "a cluster with other settings runs in $DIR: end it first with 'down'"
        if do_status >/dev/null 2>&1; then say "already up ($SLOTS slots)"; return 0; fi
        stop_all
    fi
    for port in "$PORT" "$((PORT + 1))"; do
        if port_taken "$port"; then fail "port $port is taken; choose another one with SANDBOX_PORT"; fi
    done
    rm -f "$DIR/run/ran"
    write_conf >"$DIR/log/configure" 2>&1 || start_failed "cannot make the configuration"
    echo "$settings" >"$DIR/settings"
    start_daemon qmaster sge sge_qmaster || start_failed "qmaster did not start"
    wait_until answers || start_failed "qmaster does not answer within $TIMEOUT s"
    configure >>"$DIR/log/configure" 2>&1 || start_failed "qmaster does not take the configuration"
    start_daemon execd sge sge_execd || start_failed "execd did not start"

    # Up means: a job ran.
    sge qsub -N probe -wd "$DIR" -b y -j y -o /dev/null /bin/touch "$DIR/run/ran" >>"$DIR/log/configure" 2>&1 ||
        start_failed "it takes no job"
    wait_until probe_ran || start_failed "no job ran within $TIMEOUT s"
    say "up: $HOST, $SLOTS slots, $(sge qstat -help | head -n 1); packages $((t1 - t0)) s, start $((SECONDS - t1)) s"
    do_env
}

# ---------------------------------------------------------------- main

make_state() { chmod 755 "$DIR" "$DIR"/{run,log} || fail "$DIR is not ours"; }

delete_state() { rm -rf "$ROOT" "$SPOOL" "$DIR/settings"; }

run_verb "$@"
