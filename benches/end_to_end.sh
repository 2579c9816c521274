#!/usr/bin/env bash
# End to end on one core: records delivered a second, CPU per million records, loss at each stage; and nfcapd
# (Debian package nfdump) under the same load in the same run, so that figures can be given as ratios.
#
# Usage: benches/end_to_end.sh [--quick]
#   COLLECTOR=target/release/clarion-collector  VERSION=v9  EXPORTERS=4  RATE=300000  ROUNDS=5  RUN_SECONDS=3
#
# Builds nothing. Loopback only, ports of its own, bounded: no new measurement begins after 200 s. The receiver
# has one core to itself; the generator and the backend share another. nfcapd writes its files to a temporary
# directory, which is emptied after each run.
#
# Receivers that are compared:
#   backend  the collector with all defaults, JSON by HTTP to the strict embedded backend
#   stdout   the collector with --output stdout to /dev/null: receive, decode, queue and encode without HTTP
#   nfcapd   binary files, no accounting behind the socket
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C

collector=${COLLECTOR:-target/release/clarion-collector}
version=${VERSION:-v9}
exporters=${EXPORTERS:-4}
rate=${RATE:-300000}
rounds=${ROUNDS:-5}
run_seconds=${RUN_SECONDS:-3}
[[ ${1:-} != --quick ]] || { rounds=1 run_seconds=1; }

readonly BUDGET_S=200 STEP_SECONDS=2
# What an unprivileged nfcapd may ask for is net.core.rmem_max; both get the same.
buffer=$(</proc/sys/net/core/rmem_max)
flow_port=29055 second_port=29739 http_port=29081 backend_port=29080
work=$(mktemp -d)
pids=()

cleanup() {
    local pid
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT

die() {
    echo "end_to_end: $*" >&2
    exit 1
}

[[ -x $collector ]] || die "no $collector: cargo build --release, or set COLLECTOR"
for tool in taskset curl awk sort; do command -v "$tool" >/dev/null || die "$tool is missing"; done
mapfile -t cores < <(awk '/^processor/ { print $3 }' /proc/cpuinfo)
((${#cores[@]} >= 2)) || die "two cores are needed: one for the receiver, one for the load"
load_core=${cores[0]} receiver_core=${cores[-1]}
receivers=(backend stdout)
if command -v nfcapd >/dev/null; then receivers+=(nfcapd); else echo "SKIPPED: nfcapd is not installed"; fi

# --- small things -----------------------------------------------------------------------------------------------

field() { # key: the first integer behind "key": on standard input
    { grep -o "\"$1\":[0-9]*" || true; } | head -n 1 | cut -d: -f2
}

wait_until() { # what, command...: at most 15 s
    local what=$1 tries=0
    shift
    until "$@"; do
        ((++tries < 300)) || die "waited in vain for: $what"
        sleep 0.05
    done
}

udp_line() { grep -i ":$(printf '%04X' "$flow_port") " /proc/net/udp /proc/net/udp6; }
is_bound() { udp_line >/dev/null; }
is_free() { ! is_bound; }
is_gone() { ! kill -0 "$1" 2>/dev/null; }
answers() { curl -sf -o "$work/answer" "http://127.0.0.1:$1/$2"; }
is_read_empty() { udp_line | awk '{ split($5, q, ":"); if (q[2] != "00000000") busy = 1 } END { exit busy }'; }
kernel_drops() { udp_line | awk '{ sum += $NF } END { print sum + 0 }'; }
cpu_ms() { # pid: user and system time; a tick is 10 ms
    awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print int(($12 + $13) * 1000 / hz) }' "/proc/$1/stat"
}
stop() { # pid
    kill -TERM "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

# --- one measurement ----------------------------------------------------------------------------------------------

start_collector() { # arguments...
    taskset -c "$receiver_core" "$collector" --bind-host 127.0.0.1 --netflow-port "$flow_port" --ipfix-port \
        "$second_port" --http-bind-host 127.0.0.1 --http-port "$http_port" --receive-buffer "$buffer" --log-format text \
        --backend-url "http://127.0.0.1:$backend_port" "$@" >/dev/null 2>"$work/log" &
    receiver=$!
    pids+=("$receiver")
    wait_until "the collector" answers "$http_port" readyz
}

ledger() { curl -sf "http://127.0.0.1:$http_port/api/v1/ledger"; }
is_delivered() { # nothing waits but what an open batch may hold
    local waiting
    waiting=$(ledger | field in_memory)
    ((waiting <= 1000))
}

# measure RECEIVER RATE SECONDS sets: sent obtained drops recorded lost backlog cpu_us
measure() {
    local kind=$1 asked=$2 seconds=$3 before after backend=
    wait_until "the port" is_free
    case $kind in
        backend)
            taskset -c "$load_core" "$collector" backend --listen "127.0.0.1:$backend_port" >/dev/null 2>&1 &
            backend=$!
            pids+=("$backend")
            wait_until "the backend" answers "$backend_port" stats
            start_collector
            ;;
        stdout) start_collector --output stdout ;;
        nfcapd)
            mkdir -p "$work/flows"
            taskset -c "$receiver_core" nfcapd -b 127.0.0.1 -p "$flow_port" -w "$work/flows" -B "$buffer" \
                >"$work/log" 2>&1 &
            receiver=$!
            pids+=("$receiver")
            wait_until "nfcapd" is_bound
            ;;
    esac
    before=$(cpu_ms "$receiver")
    taskset -c "$load_core" "$collector" generate --to "127.0.0.1:$flow_port" --rate "$asked" --exporters "$exporters" \
        --version "$version" --seconds "$seconds" >"$work/sent" 2>/dev/null
    backlog=0
    [[ $kind == nfcapd ]] || backlog=$(ledger | field in_memory)
    wait_until "an empty socket" is_read_empty
    [[ $kind == nfcapd ]] || wait_until "the delivery" is_delivered
    drops=$(kernel_drops)
    after=$(cpu_ms "$receiver")
    stop "$receiver"
    sent=$(field records <"$work/sent")
    obtained=$(field rate_obtained <"$work/sent")
    case $kind in
        backend)
            recorded=$(curl -sf "http://127.0.0.1:$backend_port/stats" | field records)
            stop "$backend"
            ;;
        stdout) recorded=$(grep -o 'delivered=[0-9]*' "$work/log" | cut -d= -f2) ;;
        nfcapd)
            # One line for each file that it closes.
            recorded=$(awk '{ for (i = 1; i < NF; i++) if ($i == "Flows:") n += $(i + 1) } END { print n + 0 }' "$work/log")
            rm -rf "$work/flows"
            ;;
    esac
    lost=$((sent - recorded))
    # Of all other stages the collector itself says what it dropped.
    dropped=0
    [[ $kind == nfcapd ]] || dropped=$(grep -o ' dropped=[0-9]*' "$work/log" | tail -n 1 | cut -d= -f2)
    cpu_us=$(awk -v ms=$((after - before)) -v n="$recorded" 'BEGIN { printf "%.3f", n ? ms * 1000 / n : 0 }')
    pids=()
}

# Kept up: lost less than 0.1 %, the load came as asked, and no more waits than a quarter of a second's records.
verdict() { # rate
    if ((obtained < $1 * 98 / 100)); then
        echo generator
    elif ((lost * 1000 >= sent)); then
        echo lost
    elif ((backlog * 4 >= $1)); then
        echo backlog
    else
        echo ok
    fi
}

over_budget() { ((SECONDS > BUDGET_S)); }

# --- cost at one rate, receivers in turn --------------------------------------------------------------------------

echo "machine  $(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo), ${#cores[@]} cores, Linux $(uname -r)"
echo "load     $version, $exporters exporters, $rate records/s for $run_seconds s; socket buffer $buffer octets"
echo "cores    receiver $receiver_core, generator and backend $load_core; load average $(cut -d' ' -f1 /proc/loadavg) at start"
echo
printf '%-8s %5s %10s %10s %10s %9s %9s %12s\n' receiver round sent recorded "per s" kernel dropped "CPU s/M rec"
for ((round = 1; round <= rounds; round++)); do
    for kind in "${receivers[@]}"; do
        over_budget && break 2
        measure "$kind" "$rate" "$run_seconds"
        printf '%-8s %5d %10d %10d %10d %9d %9d %12s\n' "$kind" "$round" "$sent" "$recorded" \
            $((recorded / run_seconds)) "$drops" "$dropped" "$cpu_us"
        echo "$round $kind $cpu_us" >>"$work/cost"
    done
done

echo
awk '
    { cost[$1, $2] = $3; if ($1 > rounds) rounds = $1; kinds[$2] = 1 }
    function sorted_print(name, n, list, i, j, t) {
        for (i = 2; i <= n; i++) for (j = i; j > 1 && list[j] < list[j - 1]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
        printf "%-18s median %.2f, %.2f to %.2f in %d rounds\n", name, list[int((n + 1) / 2)], list[1], list[n], n
    }
    END {
        for (kind in kinds) {
            if (kind == "nfcapd") continue
            n = 0; split("", ratio)
            for (r = 1; r <= rounds; r++)
                if (((r, kind) in cost) && cost[r, "nfcapd"] > 0) ratio[++n] = cost[r, kind] / cost[r, "nfcapd"]
            if (n) sorted_print("CPU " kind " / nfcapd", n, ratio)
        }
    }' "$work/cost"

# --- highest rate -------------------------------------------------------------------------------------------------

echo
echo "highest rate with less than 0.1 % lost, runs of $STEP_SECONDS s:"
for kind in "${receivers[@]}"; do
    good=0 bad=0 why="the time was up" next=$rate
    while ! over_budget && ((bad == 0 || (bad - good) * 12 > bad)); do
        measure "$kind" "$next" "$STEP_SECONDS"
        result=$(verdict "$next")
        printf '  %-8s %9d/s asked, %9d/s sent, lost %8d (kernel %6d datagrams, own stages %8d), waiting %7d: %s\n' \
            "$kind" "$next" "$obtained" "$lost" "$drops" "$dropped" "$backlog" "$result"
        if [[ $result == ok ]]; then good=$next; else bad=$next why=$result; fi
        if ((bad == 0)); then next=$((next * 8 / 5)); else next=$(((good + bad) / 2)); fi
    done
    printf '%-8s %9d records/s (limited by: %s)\n' "$kind" "$good" "$why"
done
echo
echo "load average $(cut -d' ' -f1 /proc/loadavg) at end, $SECONDS s in all"
