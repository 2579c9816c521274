#!/usr/bin/env bash
# The units, kernel settings and rules as files: systemd accepts each word, the exposure is below 2.5, every system call
# that the program makes is one that the unit allows, man pages and completions are there. systemd-live.sh runs them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec </dev/null
# shellcheck source=tests/deploy/lib/vm.sh
source tests/deploy/lib/vm.sh
command -v systemd-analyze >/dev/null || cannot "no systemd-analyze: apt-get install systemd"
name=clarion-collector

# As installed: verify looks for the program and for the man page that Documentation= names.
root=$scratch/root
mkdir "$root"
deploy/install.sh --root "$root" "$program" >/dev/null
units=$root/usr/local/lib/systemd/system
sed -i "s#^ExecStart=#ExecStart=$root#" "$units"/*
cp "$units/$name@.service" "$units/$name@a.service"
export MANPATH=$root/usr/local/share/man SYSTEMD_UNIT_PATH=$units:

# `verify` ends with 0 for unknown keys and wrong values too: any line is a fault.
verify() {
    local said
    said=$(systemd-analyze verify "$1" 2>&1) || true
    [[ -z $said ]] || { printf '%s\n' "$said" && return 1; }
}
exposure() { systemd-analyze security --offline=true --threshold=25 "$1"; }
for unit in "$name.service" "$name@a.service"; do
    verify "$units/$unit" || die "$unit is not right"
    exposure "$units/$unit" >"$scratch/exposure" 2>&1 || die "$unit: $(tail -n 1 "$scratch/exposure")"
    printf '%s: %s\n' "$unit" "$(tail -n 1 "$scratch/exposure")"
done
# The two must not drift apart: what differs is what makes it an instance.
drift=$(diff <(grep -v '^#' "deploy/systemd/$name.service") <(grep -v '^#' "deploy/systemd/$name@.service") | grep '^[<>]' |
    grep -vE '^. (Description|StateDirectory|EnvironmentFile|Environment|FileDescriptorStoreMax)=') && die "the units differ: $drift"
# Each example as a drop-in of each unit; and these checks can fail.
for example in deploy/systemd/examples/*.conf; do
    mkdir "$units/$name.service.d"
    cp "$example" "$units/$name.service.d/"
    verify "$units/$name.service" || die "$example is not right"
    rm -r "$units/$name.service.d"
done
# The socket unit, beside the unit that it is for.
cp deploy/systemd/examples/$name.socket "$units/"
verify "$units/$name.socket" || die "$name.socket is not right"
rm "$units/$name.socket"
sed 's/^RestartSec=.*/RestartSecond=5/' "$units/$name.service" >"$units/wrong.service"
refuses "an unknown key" verify "$units/wrong.service"
sed 's/^LimitNOFILE=.*/LimitNOFILE=many/' "$units/$name.service" >"$units/wrong.service"
refuses "a wrong value" verify "$units/wrong.service"
sed -E '/^(Protect|Private|Restrict|SystemCall|NoNew|Capab)/d' "$units/$name.service" >"$units/wrong.service"
refuses "an exposed unit" exposure "$units/wrong.service"

# Time to stop: the drain of the default configuration fits with half of it to spare.
drain() { # key
    sed -n "/^\[shutdown\]/,\$s/^#$1 = \"\([0-9]*\)s\"/\1/p" deploy/clarion-collector.toml | head -n 1
}
stop=$(sed -n 's/^TimeoutStopSec=\([0-9]*\)s$/\1/p' "deploy/systemd/$name.service")
((stop * 2 >= ($(drain drain_delay) + $(drain timeout) + 5) * 3)) ||
    die "TimeoutStopSec=$stop is too short for drain_delay $(drain drain_delay) + timeout $(drain timeout) + 5 s"

# Every system call of a start, load and drain is in the unit's filter.
if command -v strace >/dev/null; then
    # The words of the filter in order: a plain line adds, one with ~ takes away. Groups may hold groups.
    expand() { # word
        if [[ $1 != @* ]]; then
            echo "$1"
            return
        fi
        local member
        while read -r member; do expand "$member"; done < <(systemd-analyze syscall-filter "$1" | sed -n 's/^    \([^#].*\)/\1/p')
    }
    : >"$scratch/allowed"
    while IFS= read -r line; do
        for word in ${line#\~}; do expand "$word"; done | sort -u >"$scratch/words"
        if [[ $line == '~'* ]]; then
            sort -u "$scratch/allowed" | comm -23 - "$scratch/words" >"$scratch/next"
        else
            sort -u "$scratch/allowed" "$scratch/words" >"$scratch/next"
        fi
        mv "$scratch/next" "$scratch/allowed"
    done < <(sed -n 's/^SystemCallFilter=//p' "deploy/systemd/$name.service")
    (($(wc -l <"$scratch/allowed") > 200)) || die "the filter of system calls was not read"

    "$program" backend --listen 127.0.0.1:0 >/dev/null 2>"$scratch/backend" &
    backend=$!
    mkdir "$scratch/data"
    for ((i = 0; i < 300; i++)); do
        url=$(sed -n 's#.*listens on \(http://[0-9.:]*\);.*#\1#p' "$scratch/backend")
        [[ -z $url ]] || break
        sleep 0.1
    done
    strace -f -qq -o "$scratch/calls" "$program" --config /dev/null --bind-host 127.0.0.1 --netflow-port 0 --ipfix-port 0 \
        --http-bind-host 127.0.0.1 --http-port 0 --data-dir "$scratch/data" --receive-pin on --batch-interval 100ms \
        --backend-url "${url/127.0.0.1/localhost}" 2>"$scratch/log" &
    tracer=$!
    for ((i = 0; i < 300; i++)); do
        port=$(sed -n 's/.*listening address=127.0.0.1:\([0-9]*\).*/\1/p' "$scratch/log" | head -n 1)
        http=$(sed -n 's/.* ready .*http=127.0.0.1:\([0-9]*\).*/\1/p' "$scratch/log")
        [[ -z $port || -z $http ]] || break
        sleep 0.1
    done
    [[ -n $http ]] || die "it did not start under strace: $(tail -n 3 "$scratch/log")"
    "$program" generate --to "127.0.0.1:$port" --rate 2k --records 2000 --exporters 5 2>/dev/null >&2
    exec 3<>"/dev/tcp/127.0.0.1/$http" && printf 'GET /metrics/prometheus HTTP/1.0\r\n\r\n' >&3
    grep -c '^clarion' <&3 >/dev/null || die "no metrics under strace"
    exec 3>&-
    # The tracer's only child: strace itself does not pass a signal on.
    pkill -TERM -P "$tracer"
    wait "$tracer" || die "it ended with $? under strace: $(tail -n 3 "$scratch/log")"
    kill "$backend"
    wait "$backend" || true
    grep -q ' ended .*delivered=2000 ' "$scratch/log" || die "under strace: $(tail -n 1 "$scratch/log")"
    made=$(sed -nE 's/^[0-9]+ +([a-z0-9_]+)\(.*/\1/p' "$scratch/calls" | sort -u)
    # strace starts the program; systemd has done so before the filter stands.
    forbidden=$(comm -23 <(echo "$made") "$scratch/allowed")
    [[ -z $forbidden ]] || die "calls that SystemCallFilter forbids: $forbidden"
    grep -qx sched_setaffinity <<<"$made" || die "no pinning under strace: the trace misses something"
    printf 'system calls: %d made, %d allowed\n' "$(wc -l <<<"$made")" "$(wc -l <"$scratch/allowed")"
else
    echo "system calls: not compared, no strace (systemd-live.sh runs under the filter)"
fi

# Kernel settings, users, directories, rules: read by the programs that will read them.
systemd-sysusers --dry-run "$PWD/deploy/sysusers.d/$name.conf" >/dev/null 2>"$scratch/said" || die "$(cat "$scratch/said")"
grep -Ev '^(#|$|net\.[a-z_.]+ = [0-9]+$)' "deploy/sysctl.d/60-$name.conf" && die "that is no kernel setting"
while read -r key; do
    [[ -e /proc/sys/${key//.//} ]] || echo "note: this kernel, or this network namespace, has no $key"
done < <(sed -n 's/^\(net[^ ]*\) = .*/\1/p' "deploy/sysctl.d/60-$name.conf")
nft=$(command -v nft || echo /usr/sbin/nft)
if [[ -x $nft ]] && unshare --user --map-root-user --net true 2>/dev/null; then
    unshare --user --map-root-user --net "$nft" -c -f "deploy/nftables/$name-notrack.nft" || die "nft refuses its file"
    sed 's/notrack/nottrack/' "deploy/nftables/$name-notrack.nft" >"$scratch/wrong.nft"
    refuses "a wrong rule" unshare --user --map-root-user --net "$nft" -c -f "$scratch/wrong.nft"
else
    echo "nft: not checked, no nft or no namespaces"
fi
echo "systemd.sh: all right"
