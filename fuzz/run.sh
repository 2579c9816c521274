#!/usr/bin/env bash
# Fuzzes every target in turn, each for so many seconds, round after round if asked; resumes where it was stopped.
#
#   fuzz/run.sh [--seconds N] [--rounds N] [--corpus DIR] [TARGET...]
#
# What is found interesting stays in DIR (fuzz/target/found by default), a folder a target: the next run goes on from
# there. A finding is kept in DIR/TARGET-findings and ends the run with 1. Each run adds a line to DIR/log.tsv: time,
# target, seconds, executions, features covered, inputs. Reads nothing from a terminal and writes to one only what it
# says, so `nohup fuzz/run.sh --seconds 600 > fuzz.log &` does; SIGTERM ends it after the target under way has stopped.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
exec </dev/null
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0

seconds=60 rounds=1 found=target/found
targets=()
while (($#)); do
    case $1 in
        --seconds | --rounds | --corpus)
            (($# > 1)) || { echo "$1 wants a value" >&2 && exit 2; }
            case $1 in --seconds) seconds=$2 ;; --rounds) rounds=$2 ;; --corpus) found=$2 ;; esac
            shift 2
            ;;
        --help) sed -n '2,10s/^# \{0,1\}//p' run.sh && exit 0 ;;
        -*) echo "$1 is not known; --help says what is" >&2 && exit 2 ;;
        *) targets+=("$1") && shift ;;
    esac
done
if ((${#targets[@]} == 0)); then
    for file in fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

# libFuzzer's instrumentation with the stable compiler; --target keeps it away from build scripts.
host=$(rustc -vV | sed -n 's/^host: //p')
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
mkdir -p target "$found"
RUSTFLAGS="$flags" cargo build --locked --release --target "$host" --quiet
programs=$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/$host/release

child=""
stopped=0
trap 'stopped=1; [[ -n $child ]] && kill -INT "$child" 2>/dev/null' TERM INT

# A target runs as long as it may; libFuzzer ends by itself, or at SIGINT.
fuzz() { # target
    local target=$1 log code=0
    local inputs=$found/$target findings=$found/$target-findings
    log=$found/$target.log
    mkdir -p "$inputs" "$findings"
    "$programs/$target" -max_total_time="$seconds" -max_len=9000 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$findings/" "$inputs" "corpus/$target" >"$log" 2>&1 &
    child=$!
    while kill -0 "$child" 2>/dev/null; do wait "$child" && code=0 || code=$?; done
    child=""
    local executions covered
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    covered=$(grep -o 'cov: [0-9]* ft: [0-9]*' "$log" | tail -n 1)
    printf '%s\t%s\t%s s\t%s executions\t%s\t%s inputs\n' "$(date -u +%FT%TZ)" "$target" "$seconds" \
        "${executions:-?}" "${covered:-?}" "$(find "$inputs" -type f | wc -l)" | tee -a "$found/log.tsv"
    if [[ -n $(find "$findings" -type f -name 'crash-*' -o -type f -name 'timeout-*' -o -type f -name 'oom-*') ]]; then
        tail -n 30 "$log"
        echo "FOUND: $findings; put its octets into fuzz/corpus/$target under a name that says what they are" >&2
        exit 1
    fi
    ((code == 0 || stopped)) || { tail -n 30 "$log" && echo "$target ended with $code" >&2 && exit 1; }
}

for ((round = 0; round < rounds; round++)); do
    for target in "${targets[@]}"; do
        ((stopped)) && exit 0
        fuzz "$target"
    done
done
