#!/usr/bin/env bash
# The units under a systemd that runs: started as PID 1 in namespaces of its own, over a copy-on-write image of this
# host's files, with a network of its own. Nothing of the host is written.
#
# There deploy/install.sh installs for real, the hardened unit receives, delivers, is killed, comes back and drains, and
# two instances share the ports. What the sandbox forbids by mistake shows here: as a lost record or a dead process.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec </dev/null

# ---- third: inside, as a unit of that systemd ----
inside() {
    local out=/run/out unit=clarion-collector
    fail() {
        journalctl --no-pager -n 25 -o cat || true
        printf 'systemd-live.sh: %s\n' "$*"
        exit 1
    }
    # The body of an answer, or nothing.
    ask() { # port, path
        local line body=no
        { exec 3<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || return 1
        printf 'GET %s HTTP/1.0\r\nAccept: text/plain\r\n\r\n' "$2" >&3
        while IFS= read -r line <&3 || [[ -n $line ]]; do
            line=${line%$'\r'}
            if [[ $body == yes ]]; then printf '%s\n' "$line"; elif [[ -z $line ]]; then body=yes; fi
        done
        exec 3>&-
    }
    wait_for() { # what, command...
        local what=$1 end=$((SECONDS + 30))
        shift
        until "$@"; do
            ((SECONDS < end)) || fail "waited 30 s in vain for $what"
            sleep 0.1
        done
    }
    ready() { ask "$1" /readyz | grep -q '"ready":true'; }
    property() { systemctl show "$1" -P "$2"; }
    # The last closing line of a unit: every record that was sent was delivered.
    balanced() { # unit, records
        local line
        line=$(journalctl -u "$1" -o cat | grep ' ended ' | tail -n 1)
        [[ $line == *" clean=true"* && $line == *" decoded=$2 "* && $line == *" delivered=$2 "* ]] ||
            fail "$1 was sent $2 records and says: $line"
    }
    generate() { # records, exporters
        "$program" generate --to 127.0.0.1:2055 --rate 20k --records "$1" --exporters "$2" --version v9 ||
            fail "generate"
    }
    clean_stop() { # unit
        systemctl stop "$1" || fail "systemctl stop $1"
        [[ $(property "$1" Result) == success && $(property "$1" ExecMainStatus) == 0 ]] ||
            fail "$1 ended with $(property "$1" Result), $(property "$1" ExecMainStatus)"
    }

    "$out/deploy/install.sh" "$out/clarion-collector"
    id clarion-collector || fail "install.sh made no user"
    [[ $(stat -c '%a %U %G' /etc/clarion-collector /etc/clarion-collector/secrets /etc/clarion-collector/clarion-collector.toml | sort -u) \
        == $'640 root clarion-collector\n750 root clarion-collector' ]] || fail "wrong owners or modes in /etc/clarion-collector"
    local program=/usr/local/bin/clarion-collector pid before
    # By name: that a host can be looked up inside the sandbox is part of it.
    cat >/etc/clarion-collector/clarion-collector.env <<'ENV'
CLARION_COLLECTOR_BACKEND_URL=http://localhost:8000
CLARION_COLLECTOR_BATCH_INTERVAL=200ms
ENV
    "$program" backend --listen 127.0.0.1:8000 &
    wait_for "the backend" ask 8000 /stats >/dev/null

    # One process: started, hardened, receives, delivers, drains.
    systemctl start $unit || fail "systemctl start"
    wait_for "/readyz" ready 8081
    pid=$(property $unit MainPID)
    [[ $(ps -o user:32= -p "$pid") == clarion-collector ]] || fail "it runs as $(ps -o user:32= -p "$pid")"
    grep -qx $'Seccomp:\t2' "/proc/$pid/status" || fail "no filter of system calls"
    grep -qx $'CapEff:\t0000000000000000' "/proc/$pid/status" || fail "it has capabilities"
    grep -qx $'NoNewPrivs:\t1' "/proc/$pid/status" || fail "it may gain privileges"
    [[ ! -e /proc/net/if_inet6 ]] || journalctl -u $unit -o cat | grep -q 'listening address=\[::\]:2055' ||
        fail "there is IPv6, but it does not listen on it"
    generate 20000 20
    wait_for "20000 delivered records" \
        bash -c "exec 3<>/dev/tcp/127.0.0.1/8081; printf 'GET /metrics/prometheus HTTP/1.0\r\n\r\n' >&3
                 grep -q '^clarion_collector_records_delivered_total{.*} 20000' <&3"
    [[ $(stat -c '%U %a' /var/lib/clarion-collector) == "clarion-collector 750" ]] || fail "wrong owner of the state directory"
    [[ -s /var/lib/clarion-collector/state/instance ]] || fail "it could not keep its name"
    # What it reads of /proc and /sys must be there inside the sandbox.
    ask 8081 /metrics/prometheus >/run/metrics
    local metric
    for metric in process_start_time_seconds process_resident_memory_bytes process_open_fds; do
        grep -Eq "^(clarion_collector_)?$metric [1-9]" /run/metrics || fail "$metric is not known inside the sandbox"
    done
    # As the unit has it, or all that this machine lets its init give.
    local files=$(($(ulimit -Hn) < 65536 ? $(ulimit -Hn) : 65536))
    grep -Eq "^(clarion_collector_)?process_max_fds $files$" /run/metrics ||
        fail "LimitNOFILE is not $files: $(grep max_fds /run/metrics | tail -n 1)"

    # Killed: it comes back, under the same name.
    before=$(</var/lib/clarion-collector/state/instance)
    systemctl kill -s KILL $unit
    back() { [[ $(property "$unit" MainPID) != "$pid" ]] && ready 8081; }
    wait_for "a restart" back
    [[ $(property $unit NRestarts) == 1 ]] || fail "it was started again $(property $unit NRestarts) times"
    [[ $(</var/lib/clarion-collector/state/instance) == "$before" ]] || fail "it lost its name with a restart"
    generate 5000 5
    clean_stop $unit
    balanced $unit 5000

    # The examples of drop-ins that can be tried on any machine.
    local drop=/etc/systemd/system/$unit.service.d examples=/usr/local/share/clarion-collector/examples
    mkdir -p $drop
    cp $examples/net-admin.conf $examples/credential.conf $examples/memory.conf $drop/
    echo secret >/etc/clarion-collector/backend-token && chmod 600 /etc/clarion-collector/backend-token
    systemctl daemon-reload
    systemctl start $unit || fail "start with the examples of drop-ins"
    wait_for "/readyz with the examples" ready 8081
    pid=$(property $unit MainPID)
    grep -qx $'CapEff:\t0000000000001000' "/proc/$pid/status" || fail "net-admin.conf gives another capability than CAP_NET_ADMIN"
    journalctl -u $unit -o cat | tail -n 30 | grep -q 'the kernel granted' && fail "net-admin.conf, and the buffer is short all the same"
    [[ $(tr '\0' '\n' <"/proc/$pid/environ" | grep -c '^CLARION_COLLECTOR_BACKEND_TOKEN_FILE=/run/credentials/clarion-collector.service/backend-token$') == 1 ]] ||
        fail "credential.conf: the variable is missing"
    [[ $(nsenter -t "$pid" -m cat /run/credentials/clarion-collector.service/backend-token) == secret ]] ||
        fail "credential.conf: no credential"
    generate 1000 1
    clean_stop $unit
    balanced $unit 1000
    rm -r $drop
    mkdir -p $drop && cp $examples/low-port.conf $drop/
    printf '[Service]\nEnvironment=CLARION_COLLECTOR_NETFLOW_PORT=555\n' >$drop/port.conf
    systemctl daemon-reload
    systemctl start $unit || fail "start with low-port.conf"
    wait_for "/readyz on port 555" ready 8081
    clean_stop $unit
    rm -r $drop
    systemctl daemon-reload

    # Wrong usage is not tried again and again.
    mkdir -p $drop && printf '[Service]\nExecStart=\nExecStart=%s --no-such-flag\n' "$program" >$drop/wrong.conf
    systemctl daemon-reload
    systemctl start $unit || true
    failed() { [[ $(property "$unit" ActiveState) == failed ]]; }
    wait_for "the failure" failed
    [[ $(property $unit ExecMainStatus) == 2 && $(property $unit NRestarts) == 0 ]] || fail "wrong usage is started again"
    rm -r $drop
    systemctl daemon-reload

    # Two instances on the same ports, each with a name, a directory and an HTTP port.
    systemctl start $unit@a || fail "start of instance a"
    wait_for "instance a" ready 9100
    systemctl start $unit@b || fail "start of instance b"
    wait_for "instance b" ready 9101
    generate 20000 64
    clean_stop $unit@a
    generate 5000 8
    clean_stop $unit@b
    local a b
    a=$(journalctl -u $unit@a -o cat | grep ' ended ' | grep -o ' delivered=[0-9]*') a=${a#*=}
    b=$(journalctl -u $unit@b -o cat | grep ' ended ' | grep -o ' delivered=[0-9]*') b=${b#*=}
    ((a > 0 && b > 5000 && a + b == 25000)) || fail "instances delivered $a and $b of 25000"
    [[ $(stat -c '%U %a' /var/lib/clarion-collector/instances/{a,b} | sort -u) == "clarion-collector 750" ]] ||
        fail "instances have no directories of their own"

    journalctl -o cat | grep -iE 'audit.*seccomp|SIGSYS|core dumped' && fail "something was killed by the filter of system calls"
    "$out/deploy/install.sh" --uninstall --purge
    [[ ! -e $program && ! -e /etc/clarion-collector && ! -e /var/lib/clarion-collector ]] || fail "uninstall left something"
    id clarion-collector 2>/dev/null && fail "uninstall --purge left the user"
    echo "installed, hardened, killed, drained; $a and $b records by two instances on one port"
}

# ---- second: in new namespaces; becomes systemd ----
boot() { # directory of the caller
    local scratch=$1 root file
    mount --make-rprivate /
    mount -t tmpfs -o mode=755 tmpfs "$scratch/over"
    root=$scratch/over/root
    mkdir "$scratch/over/up" "$scratch/over/work" "$root"
    mount -t overlay -o "lowerdir=/,upperdir=$scratch/over/up,workdir=$scratch/over/work" overlay "$root"
    mount -t proc proc "$root/proc"
    # Kernel settings are the host's: nothing in here may write them.
    mount --bind "$root/proc/sys" "$root/proc/sys" && mount -o remount,bind,ro "$root/proc/sys"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mount -t tmpfs tmpfs "$root/tmp"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for file in null zero full random urandom tty; do
        touch "$root/dev/$file" && mount --bind "/dev/$file" "$root/dev/$file"
    done
    touch "$root/dev/console"
    mkdir "$root/dev/shm" "$root/dev/pts" "$root/run/out"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    mount --bind "$scratch/out" "$root/run/out"
    ip link set lo up
    # None of the host's own units: only what this check wants.
    rm -rf "$root"/{etc,lib}/systemd/system/*.wants "$root"/etc/systemd/system/*.d "$root/var/log/journal"
    rm -rf "$root"/{etc,var/lib,usr/local/bin,run}/clarion-collector
    cat >"$root/etc/systemd/system/live.service" <<UNIT
[Unit]
Wants=systemd-journald.service
After=systemd-journald.service
SuccessAction=exit
FailureAction=exit
[Service]
Type=oneshot
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ExecStart=/bin/bash /run/out/systemd-live.sh --inside
StandardOutput=append:/run/out/log
StandardError=append:/run/out/log
UNIT
    mkdir "$root/.host"
    cd "$root"
    pivot_root . .host
    umount -l /.host
    # As on a host: systemd hands credentials to a service by a mount that travels.
    mount --make-rshared /
    export container=other
    exec /lib/systemd/systemd --system --unit=live.service --log-level=warning --show-status=0
}

case ${1:-} in
--inside) inside && exit 0 ;;
--boot) boot "$2" ;;
esac

# ---- first: here ----
# shellcheck source=tests/deploy/lib/vm.sh
source tests/deploy/lib/vm.sh
[[ $(id -u) == 0 ]] || cannot "namespaces and mounts need root"
[[ -x /lib/systemd/systemd ]] || cannot "no /lib/systemd/systemd: apt-get install systemd"
for tool in unshare pivot_root ip nsenter; do command -v "$tool" >/dev/null || cannot "no $tool"; done
own=(unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup)
"${own[@]}" true 2>/dev/null || cannot "namespaces cannot be made here"
mkdir "$scratch/over" "$scratch/out"
# shellcheck disable=SC2016 # it is the inner shell that knows $1
"${own[@]}" bash -c 'mount --make-rprivate / && mount -t tmpfs tmpfs "$1/over" && mkdir "$1"/over/{u,w,r,c} &&
    mount -t overlay -o "lowerdir=/,upperdir=$1/over/u,workdir=$1/over/w" overlay "$1/over/r" &&
    mount -t cgroup2 cgroup2 "$1/over/c"' - "$scratch" 2>/dev/null ||
    cannot "overlay or cgroup2 file systems cannot be mounted here"
cp "$program" "${BASH_SOURCE[0]}" "$scratch/out/"
cp -r deploy "$scratch/out/"
code=0
timeout -k 5 150 "${own[@]}" bash "${BASH_SOURCE[0]}" --boot "$scratch" >"$scratch/boot" 2>&1 || code=$?
# PID 1 exits with 0 if the check did, else with the check's code.
if ((code)) || [[ ! -s $scratch/out/log ]]; then
    cat "$scratch/boot" "$scratch/out/log" 2>/dev/null || true
    die "ended with $code"
fi
echo "systemd-live.sh: $(grep '^installed, ' "$scratch/out/log")"
