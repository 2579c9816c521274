#!/usr/bin/env bash
# Rules, their unit tests, the example configuration, the dashboard and the runbook, without and with a running
# collector: a Prometheus of its own scrapes it, and every expression of the dashboard must have data.
#
# Everything is on loopback and in a temporary directory, and ends with this script. Exit code 77: a tool is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

for tool in promtool prometheus python3 curl; do
    command -v "$tool" >/dev/null || { echo "$tool is not here (Debian packages prometheus, python3, curl)"; exit 77; }
done

temporary=$(mktemp -d)
processes=()
finish() {
    local code=$?
    ((${#processes[@]} == 0)) || kill "${processes[@]}" 2>/dev/null || true
    wait
    if ((code != 0)); then tail -n 5 "$temporary"/*.log 2>/dev/null || true; fi
    rm -rf "$temporary"
    exit "$code"
}
trap finish EXIT

wait_for() { # what, seconds, command...
    local what=$1 end=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || { echo "waited in vain for: $what"; return 1; }
        sleep 0.2
    done
}

echo "-- as they stand"
promtool check config deploy/prometheus/prometheus.example.yml | grep -v '/var/lib/clarion-collector/targets' || true
promtool check config deploy/prometheus/prometheus.example.yml >/dev/null
promtool test rules deploy/prometheus/tests/*.yml >"$temporary/unit.log" 2>&1 || { cat "$temporary/unit.log"; exit 1; }
echo "unit tests: $(grep -c SUCCESS "$temporary/unit.log") files pass"

echo "-- a collector, a backend that fails now and then, load, and Prometheus"
cargo build --quiet --locked
program=${CARGO_TARGET_DIR:-target}/debug/clarion-collector
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
backend_port=$(port)
"$program" backend --listen "127.0.0.1:$backend_port" --fail-rate 0.1 --reset-rate 0.05 --seconds 120 \
    >"$temporary/backend.log" 2>&1 &
backend=$!
processes+=("$backend")
env -u CLARION_COLLECTOR_CONFIG "$program" --bind-host 127.0.0.1 --netflow-port 0 --ipfix-port 0 \
    --http-bind-host 127.0.0.1 --http-port 0 --backend-url "http://127.0.0.1:$backend_port" --receive-workers 2 \
    --receive-pin off --batch-interval 500ms --retry-backoff 100ms --retry-backoff-max 1s --shutdown-timeout 1s \
    --log-format json >"$temporary/collector.log" 2>&1 &
collector=$!
processes+=("$collector")
wait_for "the collector" 30 grep -q '"message":"ready"' "$temporary/collector.log"
http=$(python3 - "$temporary/collector.log" <<'PY'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1]) if line.startswith("{")]
print(next(line["fields"]["http"] for line in lines if line["message"] == "ready"))
PY
)
listener=$(curl -sf "http://$http/api/v1/status" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["listeners"][0]["address"])')
"$program" generate --to "$listener" --rate 3k --exporters 6 --seconds 100 >"$temporary/generate.log" 2>&1 &
processes+=($!)

python3 - "$http" "$PWD/deploy/prometheus/rules/clarion-collector.yml" >"$temporary/prometheus.yml" <<'PY'
import json, sys
target = {"static_configs": [{"targets": [sys.argv[1]]}]}
# JSON is YAML.
print(json.dumps({
    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
    "rule_files": [sys.argv[2]],
    "scrape_configs": [
        {"job_name": "clarion-collector", "metrics_path": "/metrics/prometheus", **target},
        {"job_name": "clarion-collector-exporters", "metrics_path": "/metrics/exporters", **target},
    ],
}))
PY
prometheus_port=$(port)
prometheus --config.file="$temporary/prometheus.yml" --storage.tsdb.path="$temporary/data" \
    --web.listen-address="127.0.0.1:$prometheus_port" >"$temporary/prometheus.log" 2>&1 &
processes+=($!)
api=http://127.0.0.1:$prometheus_port
has() { # expression that has a result when it is true
    curl -sfG "$api/api/v1/query" --data-urlencode "query=$1" | grep -q '"value"'
}
wait_for "twelve scrapes of both kinds" 60 has 'min(count_over_time(up[1m])) >= 12 and count(up == 1) == 2'
wait_for "records at the backend" 30 has 'sum(rate(clarion_collector_records_delivered_total[10s])) > 0'

curl -sf "http://$http/metrics/prometheus" >"$temporary/metrics"
curl -sf "http://$http/metrics/exporters" >"$temporary/exporters"
check() { # directory, further arguments
    local root=$1
    shift
    python3 tests/deploy/lib/prometheus.py --root "$root" --served "$temporary/metrics" "$temporary/exporters" "$@"
}
check . --prometheus "$api"

echo "-- the runbook's questions to a collector are answered"
# shellcheck disable=SC2016 # $C is the runbook's
commands=$(grep -h '^curl -s.*$C' docs/runbook.md | sort -u)
exporter=$(curl -sf "http://$http/api/v1/exporters?limit=1" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["exporters"][0]["address"])')
asked=0
while IFS= read -r line; do
    line=${line//\$C/http:\/\/$http}
    line=${line//192.0.2.1/$exporter}
    # What is piped on is looked for there; the answer itself must come, with -f for a status of 200.
    code=0
    (cd "$temporary" && bash -c "set -o pipefail; ${line//curl -s/curl -sf}") >"$temporary/answer.log" 2>&1 || code=$?
    # A grep may find nothing on a healthy collector, and jq may not be here.
    [[ $line == *"| grep"* && $code == 1 ]] && code=0
    [[ $line == *"| jq"* && $code == 127 ]] && code=0
    # head has enough before all is written: 23 is curl's word for it, 141 everybody else's.
    [[ $line == *"| head"* && ($code == 23 || $code == 141) ]] && code=0
    ((code == 0)) || { echo "the runbook's command ends with $code: $line"; cat "$temporary/answer.log"; exit 1; }
    asked=$((asked + 1))
done <<<"$commands"
((asked >= 40)) || { echo "only $asked commands found in the runbook"; exit 1; }
echo "$asked commands answered"

echo "-- the backend ends: its alert is pending, with its cause and no other"
kill "$backend"
wait_for "the alert" 30 has 'ALERTS{alertname="ClarionBackendUnreachable",cause="unreachable"}'
if has 'ALERTS{alertname=~"ClarionBackend(Slow|Auth|Refuses)"}'; then
    echo "another cause is told as well"
    exit 1
fi

echo "-- broken on purpose: each must be found"
broken() { # what must be said, file, sed script
    local copy=$temporary/copy
    rm -rf "$copy"
    mkdir -p "$copy"
    cp -r deploy docs "$copy"
    sed -i -e "$3" "$copy/$2"
    if cmp -s "$2" "$copy/$2"; then
        echo "the breakage $3 changes nothing in $2"
        return 1
    fi
    if check "$copy" >"$temporary/broken.log" 2>&1; then
        echo "not found: $3 in $2"
        return 1
    fi
    grep -q -e "$1" "$temporary/broken.log" || { echo "said otherwise: $1"; cat "$temporary/broken.log"; return 1; }
    echo "found: $1"
}
rules=deploy/prometheus/rules/clarion-collector.yml
board=deploy/grafana/clarion-collector.json
broken 'serves no clarion_collector_kernel_drops' $rules 's/clarion_collector_kernel_dropped_datagrams_total/clarion_collector_kernel_drops/'
broken "never has reason='buffer_is_full'" $rules 's/buffer_full/buffer_is_full/'
broken "never has code='40l'" $rules 's/401|403/40l|403/'
broken 'no metric has a label worker_id' $rules 's/by (job, stage, reason)/by (job, worker_id)/'
broken 'no section for the alert ClarionPanicked' $rules 's/alert: ClarionPanic/alert: ClarionPanicked/'
broken 'no test for the alert ClarionPanicked' $rules 's/alert: ClarionPanic/alert: ClarionPanicked/'
broken 'no section for the alert ClarionClockSteps' docs/runbook.md '/^## ClarionClockSteps$/d'
broken 'ClarionNothing is no alert' docs/runbook.md 's/^## ClarionPanic$/## ClarionNothing/'
broken "no log line says 'the kernel ate" docs/runbook.md 's/grep "the kernel dropped/grep "the kernel ate/'
broken 'serves no clarion_collector_sets_waiting' $board 's/clarion_collector_sets_parked/clarion_collector_sets_waiting/'
broken 'does not parse' $board 's/max by (instance) (/max by (instance (/'
broken 'panel id 3 stands twice' $board 's/"id": 4,/"id": 3,/'
broken 'no unit' $board 's/"unit": "percentunit"/"unit": ""/'
broken 'no description' $board 's/"description": "Cores in use[^"]*"/"description": ""/'
# shellcheck disable=SC2016 # the dashboard's variable, not the shell's
broken 'not the variable' $board 's/\${datasource}/abc/'

mutant=$temporary/mutant
mkdir -p "$mutant/rules" "$mutant/tests"
cp deploy/prometheus/tests/receive.yml "$mutant/tests/"
sed 's/busy_max:rate5m >= 0.8/busy_max:rate5m >= 0.99/' $rules >"$mutant/rules/clarion-collector.yml"
if promtool test rules "$mutant/tests/receive.yml" >"$temporary/mutant.log" 2>&1; then
    echo "the unit tests do not see a bound that was moved"
    exit 1
fi
echo "found: a bound that was moved"
