# shellcheck shell=bash
# sandboxlib.sh - what sandbox.sh and sandbox-sge.sh share: verbs, packages, daemons. Sourced by
# them, after they have set DIR, the state folder.
#
# They define: have_packages, install_packages, check_settings, do_env, do_status, do_up, stop_all,
# make_state, delete_state (how each is called: see run_verb), and
#   pid_file NAME   prints where the pid of a daemon stands
#   is_ours PID     whether a process is a daemon of this state folder

set -u -o pipefail
umask 022

HOST=$(hostname -s)
# shellcheck disable=SC2034
ME=$(id -un)
PATH=$PATH:/usr/sbin:/sbin

say()  { printf 'sandbox: %s\n' "$*"; }
fail() { printf 'sandbox: %s\n' "$*" >&2; exit 1; }

# ---------------------------------------------------------------- settings

check_numbers() {   # names of settings without SANDBOX_
    local n
    for n in "$@"; do
        [[ ${!n} =~ ^[1-9][0-9]*$ ]] || fail "SANDBOX_$n must be a positive whole number, not '${!n}'"
    done
}

check_dir() {
    [[ $DIR =~ ^/[A-Za-z0-9._/+-]+$ ]] || fail "SANDBOX_DIR must be an absolute path of plain characters: $DIR"
}

host_address() {
    local addr
    addr=$(getent ahostsv4 "$HOST" | awk 'NR == 1 {print $1}')
    [[ -n $addr ]] || fail "this machine's name ($HOST) does not resolve; a line '127.0.0.1 $HOST' in /etc/hosts cures that"
    echo "$addr"
}

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# ---------------------------------------------------------------- packages

apt_install() {   # title, then packages
    local made_policy='' ok='' title=$1
    shift
    [[ $(id -u) -eq 0 ]] || fail "$title is not installed, and installing it needs root"
    # Keep the packages from starting system-wide daemons: the scripts run their own.
    if [[ ! -e /usr/sbin/policy-rc.d ]]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        made_policy=1
    fi
    # Another apt may run at the same time. The lock option covers dpkg's lock, but not that of
    # the package lists, hence the retries too.
    for _ in 1 2 3 4 5 6; do
        if apt-get -qq update </dev/null >"$DIR/log/apt.log" 2>&1 &&
           DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y \
               --no-install-recommends "$@" </dev/null >>"$DIR/log/apt.log" 2>&1
        then ok=1; break; fi
        sleep 10
    done
    if [[ -n $made_policy ]]; then rm -f /usr/sbin/policy-rc.d; fi
    # The log may be shown in a CI run or kept: leave the registry's addresses out of it.
    sed -i -E 's#https?://[^ ]+#(address)#g' "$DIR/log/apt.log"
    if [[ -z $ok ]]; then tail -n 20 "$DIR/log/apt.log" >&2; fail "could not install $title (see $DIR/log/apt.log)"; fi
    have_packages || fail "packages installed, but a program of $title is still missing"
}

have_programs() {
    local program
    for program in "$@"; do command -v "$program" >/dev/null || return 1; done
}

# ---------------------------------------------------------------- processes

# Prints the pid in pid file $1 if that process lives AND is one of this state folder's daemons.
# A pid file left by a crash may name a number that something else has since been given.
live_pid() {
    local pid
    pid=$(cat "$1" 2>/dev/null | tr -dc 0-9)
    [[ -n $pid && -r /proc/$pid/cmdline ]] && is_ours "$pid" || return 1
    echo "$pid"
}

alive() { live_pid "$(pid_file "$1")" >/dev/null; }

stop_daemon() {
    local file pid i
    file=$(pid_file "$1")
    if pid=$(live_pid "$file"); then
        kill -TERM "$pid" 2>/dev/null
        for ((i = 0; i < 100; i++)); do live_pid "$file" >/dev/null || break; sleep 0.1; done
        if pid=$(live_pid "$file"); then
            say "$1 (pid $pid) does not end, killing it"
            kill -KILL "$pid" 2>/dev/null
        fi
    fi
    rm -f "$file"
}

# Starts a daemon detached: no inherited output (a caller's pipe would never close) and without
# fd 9 (the lock of this script, which would otherwise stay held for as long as the daemon lives).
start_daemon() {
    local name=$1; shift
    ( cd "$DIR" && "$@" </dev/null >"$DIR/log/$name.start" 2>&1 9>&- ) ||
        { cat "$DIR/log/$name.start" >&2; return 1; }
}

# Ends what was started, shows the last lines of the logs after the message, and fails.
up_failed() {
    local message=$1 f
    shift
    printf 'sandbox: %s\n' "$message" >&2
    for f in "$@"; do
        [[ -r $f ]] && { echo "--- last lines of $f" >&2; tail -n 15 "$f" >&2; }
    done
    stop_all
    exit 1
}

# ---------------------------------------------------------------- verbs

run_verb() {
    local verb=${1:-}
    case $verb in
        up|down|status|env|install|clean) ;;
        *) sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    check_settings
    if [[ $verb = env ]]; then do_env; exit; fi
    if [[ $verb = status ]]; then do_status; exit; fi

    if [[ $verb = down || $verb = clean ]] && [[ ! -d $DIR ]]; then say "no cluster in $DIR"; exit 0; fi
    mkdir -p "$DIR"/{run,log} || fail "cannot make $DIR"
    make_state
    exec 9>"$DIR/lock"
    flock -w 600 9 || fail "another sandbox holds $DIR/lock"

    case $verb in
        install) install_packages ;;
        up)      do_up ;;
        down)    stop_all; say "down" ;;
        clean)   stop_all
                 delete_state
                 rm -rf "${DIR:?}"/{run,log,lock}
                 rmdir "$DIR" 2>/dev/null
                 say "down, state deleted" ;;
    esac
}
