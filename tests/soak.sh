#!/usr/bin/env bash
# Soak: collector, backend and exporters beside each other for hours, with templates that change all the time.
#
#   tests/soak.sh start DIR     goes on where DIR stopped, in the background; says what to look at
#   tests/soak.sh status DIR    the last figures; 0 while it runs
#   tests/soak.sh stop DIR      ends the processes; the figures stay, and start goes on with them
#   tests/soak.sh verdict DIR   judges what there is
#
# SOAK_BINARY (target/release/clarion-collector), SOAK_SECONDS (7200), SOAK_RATE (20000 records a second: take half of what
# docs/performance.md says of the machine), SOAK_EXPORTERS (50), SOAK_CHURN (10 seconds until an exporter's templates take
# other ids; less than 4 is a storm, which the collector stops), SOAK_EVERY (10 seconds between two lines). They are kept in
# DIR/settings at the first start. DIR/figures.tsv has a line every SOAK_EVERY seconds, DIR/verdict the end: RSS flat, no more
# descriptors, books balanced. Each time the processes had to be started anew is a life of its own, judged by itself.
set -euo pipefail

usage() {
    sed -n '2,13p' "$0" | sed 's/^# \{0,1\}//' >&2
    exit 2
}

(($# == 2)) || usage
command=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
self=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/$(basename "${BASH_SOURCE[0]}")
figures=$dir/figures.tsv

# The settings of the first start, so that a run that goes on is the same run.
if [[ ! -f $dir/settings ]]; then
    root=$(cd "$(dirname "$self")/.." && pwd)
    cat >"$dir/settings" <<EOF
binary=${SOAK_BINARY:-$root/target/release/clarion-collector}
seconds=${SOAK_SECONDS:-7200}
rate=${SOAK_RATE:-20000}
exporters=${SOAK_EXPORTERS:-50}
churn=${SOAK_CHURN:-10}
every=${SOAK_EVERY:-10}
EOF
fi
binary='' seconds=0 rate=0 exporters=0 churn=0 every=0
# shellcheck source=/dev/null
source "$dir/settings"

# True if the process NAME that was started by us still runs: an id alone may belong to another one by now.
runs() {
    local id
    id=$(cat "$dir/$1.pid" 2>/dev/null) || return 1
    [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$id/cmdline") == *"$(cat "$dir/$1.mark")"* ]]
}

# Starts NAME detached; MARK is a part of its command line that no other process has.
launch() { # name, mark, command...
    local name=$1 mark=$2
    shift 2
    printf '%s' "$mark" >"$dir/$name.mark"
    setsid nohup "$@" </dev/null >>"$dir/$name.out" 2>>"$dir/$name.log" &
    echo $! >"$dir/$name.pid"
}

end() { # name, signal
    runs "$1" || return 0
    kill "-$2" "$(cat "$dir/$1.pid")" 2>/dev/null || true
    for _ in $(seq 300); do
        runs "$1" || return 0
        sleep 0.1
    done
    kill -KILL "$(cat "$dir/$1.pid")" 2>/dev/null || true
}

# What a program says once it runs: the first match of PATTERN in FILE, within a minute.
said() { # file, pattern
    local found
    for _ in $(seq 600); do
        found=$(sed -n "s~.*$2.*~\\1~p" "$1" 2>/dev/null | head -n 1)
        if [[ -n $found ]]; then
            echo "$found"
            return 0
        fi
        sleep 0.1
    done
    echo "$1 does not say $2" >&2
    return 1
}

# A new life: backend, collector on what the last one left, exporters.
begin_life() {
    for name in generator collector backend; do end "$name" TERM; done
    for name in generator collector backend; do
        if [[ -f $dir/$name.log ]]; then cat "$dir/$name.log" >>"$dir/$name.log.before"; fi
        : >"$dir/$name.log"
    done
    echo $(($(cat "$dir/life" 2>/dev/null || echo 0) + 1)) >"$dir/life"
    local backend udp
    launch backend "backend --listen" "$binary" backend --listen 127.0.0.1:0
    backend=$(said "$dir/backend.log" 'listens on http://\([0-9.:]*\);')
    launch collector "--data-dir=$dir/data" "$binary" --data-dir="$dir/data" --backend-url="http://$backend" \
        --bind-host=127.0.0.1 --netflow-port=0 --ipfix-port=0 --http-bind-host=127.0.0.1 --http-port=0 --log-format=json
    said "$dir/collector.log" '"http":"\([0-9.:]*\)"' >"$dir/http"
    udp=$(said "$dir/collector.log" '"address":"\([0-9.:]*\)","forced"')
    launch generator "--churn $churn --to $udp" "$binary" generate --rate "$rate" --exporters "$exporters" \
        --churn "$churn" --to "$udp"
}

# Values of the scrape by name, in this order, a tab between them; sums over labels.
scrape() { # names...
    local text
    text=$(curl --silent --fail --max-time 5 "http://$(cat "$dir/http")/metrics/prometheus") || return 1
    awk -v names="$*" '
        { name = $1; sub(/\{.*/, "", name); sub(/^clarion_collector_/, "", name); sum[name] += $NF }
        END { count = split(names, wanted, " "); for (i = 1; i <= count; i++) printf("%s%.0f", (i > 1 ? "\t" : ""), sum[wanted[i]]) }
    ' <<<"$text"
}

columns="process_resident_memory_bytes process_open_fds records_decoded_total records_delivered_total
records_dropped_total records_possibly_duplicated_total records_pending spool_records kernel_dropped_datagrams_total
datagrams_rejected_total ledger_imbalance_records sets_undecodable_total oldest_unacked_seconds"

watch_it() {
    echo $$ >"$dir/watcher.pid"
    printf '%s' "soak.sh watch $dir" >"$dir/watcher.mark"
    if [[ ! -f $figures ]]; then
        # shellcheck disable=SC2086 # a list of words
        printf '%s\t' life seconds time $columns | sed 's/\t$/\n/' >"$figures"
    fi
    local elapsed line
    elapsed=$((($(wc -l <"$figures") - 1) * every))
    while ((elapsed < seconds)); do
        if ! { runs collector && runs backend && runs generator; }; then begin_life; fi
        sleep "$every"
        elapsed=$((elapsed + every))
        # shellcheck disable=SC2086 # a list of words
        if line=$(scrape $columns); then
            printf '%s\t%s\t%s\t%s\n' "$(cat "$dir/life")" "$elapsed" "$(date -u +%FT%TZ)" "$line" >>"$figures"
        else
            elapsed=$((elapsed - every))
            echo "$(date -u +%FT%TZ) no answer from the collector" >>"$dir/watcher.log"
        fi
    done
    end generator TERM
    settle
    end collector TERM
    end backend TERM
    verdict >"$dir/verdict" || true
    rm -f "$dir/watcher.pid"
}

# The books at rest: the last life's ledger, once nothing is under way; at most a minute.
settle() {
    for _ in $(seq 120); do
        curl --silent --fail --max-time 5 "http://$(cat "$dir/http")/api/v1/ledger" >"$dir/ledger.json" || true
        if [[ $(grep -o '"unexplained":[-0-9]*' "$dir/ledger.json" | sort -u) == '"unexplained":0' ]] &&
            grep -q '"in_memory":0,' "$dir/ledger.json" && grep -q '"spooled":0,' "$dir/ledger.json"; then
            return 0
        fi
        sleep 0.5
    done
}

# Of each life that is long enough: the last quarter against the second one, since the first fills what fills. Limits: 5 %
# and 4 MiB of RSS (pages that the allocator has not given back), 8 descriptors (connections of a scrape and the backend).
verdict() {
    awk -F '\t' -v every="$every" '
        NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        { life = $1 + 0; n = ++rows[life]; if (life > last) last = life
          rss[life, n] = $at["process_resident_memory_bytes"]; fds[life, n] = $at["process_open_fds"]
          imbalance[life] += $at["ledger_imbalance_records"] != 0
          dropped[life] = $at["records_dropped_total"]; kernel[life] = $at["kernel_dropped_datagrams_total"]
          rejected[life] = $at["datagrams_rejected_total"]; undecodable[life] = $at["sets_undecodable_total"]
          decoded[life] = $at["records_decoded_total"]; delivered[life] = $at["records_delivered_total"]
          doubled[life] = $at["records_possibly_duplicated_total"]
          if ($at["oldest_unacked_seconds"] > oldest[life]) oldest[life] = $at["oldest_unacked_seconds"] }
        function mean(of, life, from, to,   i, sum) {
            for (i = from; i <= to; i++) sum += of[life, i]
            return sum / (to - from + 1)
        }
        END {
            bad = 0; judged = 0
            for (life = 1; life <= last; life++) {
                if (!(life in rows)) continue
                n = rows[life]; quarter = int(n / 4)
                printf "life %d: %d s, %.0f records decoded, %.0f delivered, %d dropped, %d possible duplicates; %d datagrams dropped by the kernel, %d rejected, %d sets undecodable; oldest unacknowledged %d s\n", life, n * every, decoded[life], delivered[life], dropped[life], doubled[life], kernel[life], rejected[life], undecodable[life], oldest[life]
                if (imbalance[life] || dropped[life] || rejected[life] || undecodable[life]) { bad++; printf "  BAD: imbalance in %d readings, %d dropped, %d rejected, %d undecodable\n", imbalance[life], dropped[life], rejected[life], undecodable[life] }
                if (quarter < 3) { print "  too short to judge memory"; continue }
                judged++
                early = mean(rss, life, quarter + 1, 2 * quarter); late = mean(rss, life, n - quarter + 1, n)
                fds_early = mean(fds, life, quarter + 1, 2 * quarter); fds_late = mean(fds, life, n - quarter + 1, n)
                printf "  RSS %.1f MiB in the second quarter, %.1f in the last; descriptors %.1f, %.1f\n", early / 1048576, late / 1048576, fds_early, fds_late
                if (late > early * 1.05 + 4 * 1048576) { bad++; print "  BAD: RSS grows" }
                if (fds_late > fds_early + 8) { bad++; print "  BAD: descriptors grow" }
            }
            if (!judged) bad++
            print(bad ? "VERDICT: BAD" : "VERDICT: GOOD")
            exit(bad ? 1 : 0)
        }' "$figures"
    if [[ -f $dir/ledger.json ]]; then
        echo "last ledger: $(grep -o '"\(unexplained\|in_memory\|spooled\)":[-0-9]*' "$dir/ledger.json" | tr '\n' ' ')"
    fi
}

case $command in
    start)
        command -v curl >/dev/null || { echo "curl is missing: install it" >&2; exit 1; }
        [[ -x $binary ]] || { echo "$binary is missing: cargo build --release, or name another by SOAK_BINARY" >&2; exit 1; }
        if runs watcher; then
            echo "it runs already: $figures"
            exit 0
        fi
        setsid nohup "$self" watch "$dir" </dev/null >>"$dir/watcher.log" 2>&1 &
        echo "figures every $every s: $figures; after $seconds s the verdict: $dir/verdict"
        ;;
    watch) watch_it ;;
    status)
        [[ -f $figures ]] && { head -n 1 "$figures"; tail -n 3 "$figures"; }
        if [[ -f $dir/verdict ]]; then cat "$dir/verdict"; fi
        runs watcher
        ;;
    stop)
        end watcher TERM
        for name in generator collector backend; do end "$name" TERM; done
        ;;
    verdict) verdict ;;
    *) usage ;;
esac
