#!/usr/bin/env bash
# What TLS, HTTP/2 and compression cost the collector: CPU per million records, in the same run as plain HTTP/1.1.
#
# Usage: benches/egress.sh
#   COLLECTOR=target/release/clarion-collector  RATE=200000  ROUNDS=3  RUN_SECONDS=4
#
# Builds nothing. Loopback only, bounded. The collector has one core to itself; the generator and nginx (Debian package
# nginx-light), which reads each body and answers 201, share another. Keys and certificates are made by openssl.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C

collector=${COLLECTOR:-target/release/clarion-collector}
rate=${RATE:-200000}
rounds=${ROUNDS:-3}
run_seconds=${RUN_SECONDS:-4}
flow_port=29155 http_port=29181 plain_port=29180 tls1_port=29182 tls2_port=29183 sink_port=29184 h2c_port=29185
work=$(mktemp -d)
pids=()

cleanup() {
    local pid
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

die() {
    echo "egress: $*" >&2
    exit 1
}

[[ -x $collector ]] || die "no $collector: cargo build --release, or set COLLECTOR"
nginx=$(command -v nginx || echo /usr/sbin/nginx)
[[ -x $nginx ]] || die "nginx is missing (Debian package nginx-light)"
for tool in taskset curl awk openssl; do command -v "$tool" >/dev/null || die "$tool is missing"; done
mapfile -t cores < <(awk '/^processor/ { print $3 }' /proc/cpuinfo)
((${#cores[@]} >= 2)) || die "two cores are needed: one for the collector, one for the load"
load_core=${cores[0]} collector_core=${cores[-1]}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test -keyout "$work/ca.key" \
    -out "$work/ca.pem" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout "$work/key.pem" \
    -out "$work/request.pem" 2>/dev/null
openssl x509 -req -in "$work/request.pem" -CA "$work/ca.pem" -CAkey "$work/ca.key" -days 2 -out "$work/cert.pem" \
    -extfile <(echo "subjectAltName=DNS:localhost") 2>/dev/null

server() { # listen line, further lines
    echo "server { listen 127.0.0.1:$1; ${2:-} location / { proxy_pass http://127.0.0.1:$sink_port; } }"
}
tls="ssl_certificate $work/cert.pem; ssl_certificate_key $work/key.pem;"
{
    echo "daemon off; worker_processes 1; error_log $work/error.log; pid $work/nginx.pid;"
    echo "events { worker_connections 512; }"
    echo "http { access_log off; keepalive_requests 1000000; client_max_body_size 64m; client_body_buffer_size 4m;"
    for kind in client_body proxy fastcgi uwsgi scgi; do echo "${kind}_temp_path $work/$kind;"; done
    server "$plain_port"
    server "$tls1_port ssl" "$tls"
    server "$tls2_port ssl http2" "$tls"
    server "$h2c_port http2"
    echo "server { listen 127.0.0.1:$sink_port; location / { return 201; } } }"
} >"$work/nginx.conf"
taskset -c "$load_core" "$nginx" -c "$work/nginx.conf" -p "$work" >"$work/nginx.log" 2>&1 &
pids+=($!)

answers() { curl -sf -o "$work/answer" "http://127.0.0.1:$1/$2"; }
metric() { # name: its sum over labels
    curl -sf "http://127.0.0.1:$http_port/metrics/prometheus" |
        awk -v name="clarion_collector_$1" '$1 == name || index($1, name "{") == 1 { sum += $2 } END { printf "%.3f\n", sum }'
}

# Prints: CPU seconds per million records, ratio of compression.
measure() { # url, arguments...
    local url=$1 pid before after cpu records tries=0
    shift
    taskset -c "$collector_core" "$collector" --bind-host=127.0.0.1 --netflow-port=$flow_port --ipfix-port=0 \
        --http-bind-host=127.0.0.1 --http-port=$http_port --receive-workers=1 --receive-pin=off --backend-url="$url" \
        --backend-tls-ca-file="$work/ca.pem" "$@" 2>"$work/collector.log" >/dev/null &
    pid=$!
    pids+=("$pid")
    until answers $http_port readyz; do
        ((++tries < 200)) || die "the collector does not get ready: $(cat "$work/collector.log")"
        sleep 0.05
    done
    generate 1
    before=$(metric process_cpu_seconds_total) records=$(metric records_delivered_total)
    generate "$run_seconds"
    until [[ $(metric records_pending) == 0.000 ]]; do sleep 0.1; done
    after=$(metric process_cpu_seconds_total)
    [[ $(metric records_dropped_total) == 0.000 ]] || echo "records were dropped: the figure is too low" >&2
    cpu=$(awk -v a="$after" -v b="$before" -v r="$(metric records_delivered_total)" -v s="$records" \
        'BEGIN { printf "%.3f", (a - b) / (r - s) * 1e6 }')
    echo "$cpu $(awk -v b="$(metric delivery_body_bytes_total)" -v s="$(metric delivery_sent_bytes_total)" \
        'BEGIN { printf "%.1f", b / s }')"
    kill -TERM "$pid"
    wait "$pid" || die "the collector ended badly: $(tail -n 3 "$work/collector.log")"
}

generate() { # seconds
    taskset -c "$load_core" "$collector" generate --to "127.0.0.1:$flow_port" --rate "$rate" --seconds "$1" \
        --exporters 4 --version v9 >/dev/null 2>&1
}

printf '%-8s %-12s %s\n' round variant 'CPU s per million records, ratio to plain, body octets per octet sent'
for ((round = 1; round <= rounds; round++)); do
    base=
    for variant in plain tls-h1 tls-h2 h2c gzip zstd tls-h2-zstd; do
        case $variant in
            plain) result=$(measure "http://localhost:$plain_port") ;;
            tls-h1) result=$(measure "https://localhost:$tls1_port") ;;
            tls-h2) result=$(measure "https://localhost:$tls2_port") ;;
            h2c) result=$(measure "http://localhost:$h2c_port" --backend-http-version=2) ;;
            gzip) result=$(measure "http://localhost:$plain_port" --backend-compression=gzip) ;;
            zstd) result=$(measure "http://localhost:$plain_port" --backend-compression=zstd) ;;
            tls-h2-zstd) result=$(measure "https://localhost:$tls2_port" --backend-compression=zstd) ;;
        esac
        base=${base:-${result%% *}}
        printf '%-8s %-12s %s\n' "$round" "$variant" \
            "$(awk -v r="$result" -v b="$base" 'BEGIN { split(r, x, " "); printf "%s  %.2f  %s", x[1], x[1] / b, x[2] }')"
    done
done
