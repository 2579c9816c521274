#!/usr/bin/env bash
# The image and docker-compose.yml, run: a daemon of its own in a network namespace of its own, nothing pulled.
#
# Packs the static binary FROM scratch, runs it without any right, then the compose file as it stands (Prometheus is
# Debian's, packed into an image here) with three replicas under load, and down to one while datagrams come. What was sent
# is what the backend has. Leaves nothing behind. 77: no daemon can run here, the last line says why.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

absent() { # why
    echo "$1"
    exit 77
}

[[ $(uname -m) == x86_64 ]] || absent "the test image of Prometheus is put together for amd64 alone"
[[ $(id -u) == 0 ]] || absent "not root: no Docker daemon can be started"
# Debian's own come first: a newer client does not speak to an older daemon.
export PATH=/usr/bin:/usr/sbin:$PATH
for tool in dockerd docker docker-compose containerd prometheus promtool python3 unshare ip ldd; do
    command -v "$tool" >/dev/null || absent "$tool is not here (Debian: docker.io docker-compose prometheus)"
done

program=${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/release/clarion-collector
if [[ -z ${CLARION_OWN_NETWORK:-} ]]; then
    begin=$SECONDS
    # Build scripts and procedural macros stay dynamic because of --target.
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --locked --release --target x86_64-unknown-linux-gnu
    echo "static binary: $((SECONDS - begin)) s, $(stat -c %s "$program") octets"
    # All ports are free there, and the daemon cannot touch the machine's network.
    unshare --net true 2>/dev/null || absent "no network namespace can be made here"
    CLARION_OWN_NETWORK=1 exec unshare --net bash "$0"
fi
ip link set lo up

work=$(mktemp -d /tmp/cc.XXXXXX)
daemon=
export DOCKER_HOST=unix://$work/docker.sock DOCKER_BUILDKIT=0 DOCKER_CONFIG=$work/client COMPOSE_PROJECT_NAME=clarion
mkdir "$work/client"

compose() { (cd "$work/site" && docker-compose --ansi never --file docker-compose.yml --file override.yml "$@"); }

finish() {
    local code=$?
    if ((code != 0 && code != 77)) && [[ -n $daemon ]]; then
        docker ps --all || true
        compose logs --no-color --tail 30 | cut -c 1-300 || true
    fi
    if [[ -n $daemon ]]; then
        docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes >/dev/null 2>&1 || true
        kill "$daemon" 2>/dev/null || true
        wait "$daemon" 2>/dev/null || true
    fi
    # Mounts of the daemon are all below its own directory.
    awk -v base="$work/" 'index($2, base) == 1 { print $2 }' /proc/mounts | sort --reverse |
        xargs --no-run-if-empty umount --lazy 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

fail() { # what
    echo "FAILED: $1" >&2
    exit 1
}

wait_for() { # what, seconds, command...
    local what=$1 end=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || fail "waited in vain for: $what"
        sleep 0.2
    done
}

# Value of a Python expression over JSON on standard input, called j.
value() { python3 -c 'import json, sys; j = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }

ask() { # url
    python3 -c 'import sys, urllib.request as u; sys.stdout.write(u.urlopen(u.Request(sys.argv[1], headers={"Accept": "application/json"}), timeout=5).read().decode())' "$1"
}

dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/dockerd.pid" --host "$DOCKER_HOST" \
    --iptables=false --ip6tables=false --bridge=none >"$work/dockerd.log" 2>&1 &
daemon=$!
end=$((SECONDS + 30))
until docker version >/dev/null 2>&1; do
    if ! kill -0 "$daemon" 2>/dev/null || ((SECONDS >= end)); then
        absent "dockerd does not run here: $(grep -v 'level=info' "$work/dockerd.log" | tail -n 1)"
    fi
    sleep 0.2
done

echo "== image"
if deploy/container/pack.sh /bin/true refused:latest >/dev/null 2>&1; then fail "a dynamic program was packed"; fi
deploy/container/pack.sh "$program" clarion-collector:latest >/dev/null
docker image inspect clarion-collector:latest >"$work/image.json"
image() { value "j[0]['Config']$1" <"$work/image.json"; }
[[ $(image "['User']") == 65532:65532 ]] || fail "the image's user"
[[ $(image "['Healthcheck']['Test'][0]") == CMD ]] || fail "the image's health check needs a shell"
[[ $(image "['Labels']['org.opencontainers.image.title']") == clarion-collector ]] || fail "the image's labels"
[[ $(image "['ExposedPorts']") == *2055/udp* ]] || fail "the image's ports"
echo "$(value "j[0]['Size']" <"$work/image.json") octets"

# A container that may do nothing: read-only root, no capability, a user without a name.
bare=(--network host --read-only --cap-drop ALL --security-opt no-new-privileges)
health() { docker inspect --format '{{.State.Health.Status}}' "$1"; }
is() { # status, container
    [[ $(health "$2") == "$1" ]]
}

echo "== one container, with the environment of the Python collector"
docker run --detach --name one "${bare[@]}" --health-interval 1s \
    --env CLARION_COLLECTOR_BACKEND_URL=http://127.0.0.1:8000 --env CLARION_COLLECTOR_NETFLOW_PORT=2055 \
    --env CLARION_COLLECTOR_IPFIX_PORT=4739 --env CLARION_COLLECTOR_SFLOW_PORT=6343 \
    --env CLARION_COLLECTOR_BIND_HOST=0.0.0.0 --env CLARION_COLLECTOR_BATCH_SIZE=1000 \
    --env CLARION_COLLECTOR_BATCH_INTERVAL=5.0 --env CLARION_COLLECTOR_SWITCH_ID_FROM_IP=true \
    --env CLARION_COLLECTOR_LOG_LEVEL=INFO --env CLARION_COLLECTOR_UDP_RCVBUF=8388608 \
    --env CLARION_COLLECTOR_RETRY_ATTEMPTS=3 --env CLARION_COLLECTOR_RETRY_BACKOFF=1.0 \
    --env CLARION_COLLECTOR_MODE=both clarion-collector:latest >/dev/null
wait_for "a healthy container" 30 is healthy one
docker logs one >"$work/one.log" 2>&1
grep -q "mode = both" "$work/one.log" || fail "mode = both is not explained"
grep -q "file /var/lib/clarion-collector/state/instance" "$work/one.log" || fail "the instance name is not kept in the volume"
if grep -q "unknown variables" "$work/one.log"; then fail "a variable of the Python collector is not known"; fi
# The health check must be able to say no: here it has a collector on the host's network, but none in its container.
docker run --detach --name none "${bare[@]}" --health-interval 1s --health-start-period 0s --health-retries 1 \
    --env CLARION_COLLECTOR_HTTP_PORT=9100-9199 clarion-collector:latest backend --listen 127.0.0.1:8001 >/dev/null
wait_for "an unhealthy container without a collector" 30 is unhealthy none
# One user alone may share the ports; another is told so.
docker run --name other "${bare[@]}" --user 1000:1000 --env CLARION_COLLECTOR_BIND_HOST=0.0.0.0 \
    --env CLARION_COLLECTOR_HTTP_PORT=0 clarion-collector:latest >"$work/other.log" 2>&1 &&
    fail "a second user shares the ports"
grep -qi "user" "$work/other.log" || fail "the error of a second user does not name the cause: $(cat "$work/other.log")"
docker stop --time 30 one >/dev/null
[[ $(docker inspect --format '{{.State.ExitCode}}' one) == 0 ]] || fail "SIGTERM does not end it with 0"
docker rm --force --volumes one none other >/dev/null

echo "== an image of Prometheus"
mkdir -p "$work/prometheus/root/bin" "$work/prometheus/data"
cp /usr/bin/prometheus "$work/prometheus/root/bin/"
ldd /usr/bin/prometheus | grep -o '/[^ ]*' | sort -u | while read -r library; do
    mkdir -p "$work/prometheus/root$(dirname "$library")"
    cp --dereference "$library" "$work/prometheus/root$library"
done
printf '%s\n' 'FROM scratch' 'COPY root /' 'COPY --chown=65534:65534 data /prometheus' \
    'ENTRYPOINT ["/bin/prometheus"]' >"$work/prometheus/Dockerfile"
docker build --quiet --tag prometheus-here "$work/prometheus" >/dev/null

echo "== compose, three replicas"
mkdir -p "$work/site/deploy"
cp docker-compose.yml "$work/site/"
cp -r deploy/compose "$work/site/deploy/"
mkdir -p "$work/site/deploy/prometheus/rules"
[[ ! -d deploy/prometheus/rules ]] || cp -r deploy/prometheus/rules "$work/site/deploy/prometheus/"
# The one thing that is not as delivered: no image can be pulled here.
printf '%s\n' 'services:' '  prometheus:' '    image: prometheus-here' >"$work/site/override.yml"
compose up --detach --no-build --quiet-pull --scale collector=3 2>"$work/up.log" || fail "compose up: $(cat "$work/up.log")"
replicas() { compose ps --quiet collector; }
are_healthy() { # number of replicas
    local container
    [[ $(replicas | wc -l) == "$1" ]] || return 1
    for container in $(replicas); do is healthy "$container" || return 1; done
}
targets_files() { find "$work"/data/volumes/clarion_targets/_data -name '*.json' | wc -l; }
wait_for "three healthy replicas" 60 are_healthy 3
# Active targets of the first job that answer, one a line.
targets() {
    ask 'http://127.0.0.1:9090/api/v1/targets?state=active' | value \
        "'\n'.join(sorted(t['discoveredLabels']['__address__'] for t in j['data']['activeTargets'] if t['health'] == 'up' and t['scrapePool'] == 'clarion-collector'))"
}
see() { # number of targets
    [[ $(targets | grep -c .) == "$1" ]]
}
wait_for "three targets that answer Prometheus" 60 see 3
targets | tr '\n' ' '
echo

received() { # records at the backend
    ask http://127.0.0.1:8000/stats | value "j['records']"
}
has() { # records
    [[ $(received) == "$1" ]]
}
load() { # version, records a second, records
    "$program" generate --to 127.0.0.1:2055 --rate "$2" --records "$3" --exporters 64 --version "$1"
}
whole() { # records: all there, each once
    local stats
    wait_for "$1 records at the backend (last: $(received))" 40 has "$1"
    stats=$(ask http://127.0.0.1:8000/stats)
    stats=$(value "[j['records']] + [sum(s[k] for s in j['serials'].values()) for k in ('missing', 'doubled')]" <<<"$stats")
    echo "records, missing, doubled at the backend: $stats"
    [[ $stats == "[$1, 0, 0]" ]] || fail "records are missing or doubled"
}

load mixed 10000 60000
whole 60000
for target in $(targets); do
    exporters=$(ask "http://$target/api/v1/exporters?limit=1000" | value "len(j['exporters'])")
    echo "$target has heard $exporters exporters"
    ((exporters >= 2)) || fail "$target has heard $exporters exporters of 64"
done

echo "== three to one under load"
compose restart --timeout 10 backend 2>/dev/null
wait_for "an empty backend" 20 has 0
# v5: templates of v9 are not shared between replicas, and this is about the kernel's queues.
load v5 5000 100000 >"$work/load.log" 2>&1 &
load=$!
wait_for "load on its way" 20 python3 -c "import urllib.request as u, json, sys; sys.exit(json.load(u.urlopen('http://127.0.0.1:8000/stats'))['records'] < 1000)"
compose up --detach --no-build --no-recreate --scale collector=1 2>"$work/down.log" || fail "scaling down: $(cat "$work/down.log")"
kill -0 "$load" 2>/dev/null || fail "the load ended before the replicas did: nothing is proved"
wait "$load" || fail "generate: $(cat "$work/load.log")"
[[ $(replicas | wc -l) == 1 ]] || fail "there are $(replicas | wc -l) replicas"
whole 100000
wait_for "one target" 40 see 1
[[ $(targets_files) == 1 ]] || fail "replicas left their targets files"

# That the figures can show a loss: a killed process takes along what it had for less than the interval of a batch.
load v5 5000 500 >/dev/null 2>&1
killed=$(replicas)
docker kill --signal KILL "$killed" >/dev/null
sleep 1
has 100000 || fail "500 records of a killed process came to the backend within a second: $(received)"
# Its file stays until somebody answers there again: the same container, by the name that its volume has kept.
[[ $(targets_files) == 1 ]] || fail "a killed process has no targets file"
docker start "$killed" >/dev/null
wait_for "the same replica again" 30 are_healthy 1
[[ $(targets_files) == 1 ]] || fail "$(targets_files) targets files for one replica"

compose down --volumes --timeout 30 2>/dev/null
echo "done in $SECONDS s"
