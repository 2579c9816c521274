#!/usr/bin/env bash
# The container files, read: compose file against docker-compose and the schema of the specification, what must hold in
# it, the Prometheus configuration, the two Dockerfiles alike, and what .dockerignore lets through. Starts nothing.
#
# Ends with damaging copies of the files: each damage must be found. 77: a tool is missing, the last line says which.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

for tool in docker-compose promtool python3; do
    command -v "$tool" >/dev/null || {
        echo "$tool is not here (Debian: docker-compose prometheus python3)"
        exit 77
    }
done
# docker-compose brings both along.
python3 -c 'import yaml, jsonschema' 2>/dev/null || {
    echo "Python has no yaml or jsonschema (Debian: python3-yaml python3-jsonschema)"
    exit 77
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
schema=${CLARION_SHARED:-../shared}/schemas/compose-spec.json
[[ -r $schema ]] || echo "SKIPPED: the schema of the compose specification is not at $schema"

# A copy of what is checked, so that it can be damaged.
lay_out() { # directory
    mkdir -p "$1/deploy"
    cp docker-compose.yml Dockerfile .dockerignore Cargo.toml "$1/"
    cp -r deploy/compose deploy/container "$1/deploy/"
    [[ ! -d deploy/prometheus ]] || cp -r deploy/prometheus "$1/deploy/"
}

check() { # directory
    local here=$1
    (cd "$here" && env -i PATH="$PATH" HOME="$here" docker-compose --file docker-compose.yml config) >"$here/effective.yml" || return 1
    python3 - "$here" "$schema" <<'PYTHON' || return 1
import json, os, re, sys
import yaml, jsonschema

here, schema = sys.argv[1:]
faults = []

def hold(condition, text):
    if not condition:
        faults.append(text)

compose = yaml.safe_load(open(f"{here}/docker-compose.yml"))
if os.access(schema, os.R_OK):
    specification = json.load(open(schema))
    # A draft that an older library lacks is checked by the nearest one that it has.
    checker = jsonschema.validators.validator_for(specification)
    for fault in checker(specification).iter_errors(compose):
        faults.append(f"docker-compose.yml {list(fault.absolute_path)}: {fault.message}")

effective = yaml.safe_load(open(f"{here}/effective.yml"))
services = effective["services"]
hold(set(services) == {"collector", "backend", "prometheus"}, f"services are {sorted(services)}")
for name, service in services.items():
    hold(service.get("network_mode") == "host", f"{name}: not on the host's network")
    hold(not service.get("ports"), f"{name}: a published port keeps the second replica from starting")
    hold(service.get("read_only") is True, f"{name}: the root can be written")
    hold(service.get("cap_drop") == ["ALL"], f"{name}: capabilities are not dropped")
    hold("no-new-privileges:true" in service.get("security_opt", []), f"{name}: new privileges are possible")
    hold(re.fullmatch(r"[1-9]\d*:[1-9]\d*", str(service.get("user"))), f"{name}: user {service.get('user')} is no number")
    hold("container_name" not in service, f"{name}: a fixed name cannot be scaled")
    hold(":" in service["image"], f"{name}: {service['image']} has no tag")
hold(not services["prometheus"]["image"].endswith(":latest"), "prometheus: the tag is not pinned")
hold("cpus" not in services["collector"], "collector: a limit of processors loses datagrams")

def seconds(text):
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(n) * units[u] for n, u in re.findall(r"(\d+)([hms])", str(text)))

collector = services["collector"]
environment = collector["environment"]
grace, drain = seconds(collector["stop_grace_period"]), seconds(environment["CLARION_COLLECTOR_SHUTDOWN_TIMEOUT"])
hold(grace >= drain + 5, f"collector: stop_grace_period {grace} s leaves a drain of {drain} s no room")
hold("-" in environment["CLARION_COLLECTOR_HTTP_PORT"], "collector: one HTTP port for all replicas")
targets = environment["CLARION_COLLECTOR_HTTP_TARGETS_DIR"]

def source(service, target):
    for volume in services[service]["volumes"]:
        parts = volume.split(":")
        if len(parts) > 1 and parts[1] == target:
            return parts[0]
    return None

hold(source("collector", targets) == "targets", f"collector: {targets} is not the shared volume")
hold(any(v.split(":")[0] == "/var/lib/clarion-collector" and v.count("/") == 3 for v in collector["volumes"]),
     "collector: the data directory is not a volume of each replica's own")
prometheus = yaml.safe_load(open(f"{here}/deploy/compose/prometheus.yml"))
for job in prometheus["scrape_configs"]:
    for pattern in job["file_sd_configs"][0]["files"]:
        hold(source("prometheus", os.path.dirname(pattern)) == "targets", f"{job['job_name']}: {pattern} is not the shared volume")
hold([j["metrics_path"] for j in prometheus["scrape_configs"]] == ["/metrics/prometheus", "/metrics/exporters"], "paths of the jobs")
for pattern in prometheus["rule_files"]:
    hold(source("prometheus", os.path.dirname(pattern)), f"rules {pattern} are not mounted")

# The last stages of the two Dockerfiles, the origin of what is copied apart.
def last_stage(path):
    text = open(f"{here}/{path}").read()
    stage = text[text.index("\nFROM scratch\n"):]
    stage = re.sub(r"--from=builder |/image/(?=usr|var|run)", "", stage)
    return stage
hold(last_stage("Dockerfile") == last_stage("deploy/container/Dockerfile.prebuilt"), "the last stages of the Dockerfiles differ")

dockerfile = open(f"{here}/Dockerfile").read()
version = re.search(r'^version = "(.*)"', open(f"{here}/Cargo.toml").read(), re.M).group(1)
rust = re.search(r'^rust-version = "(.*)"', open(f"{here}/Cargo.toml").read(), re.M).group(1)
hold(f"ARG VERSION={version}\n" in dockerfile, f"Dockerfile: the label's version is not {version}")
pinned = re.search(r"^ARG RUST_VERSION=(\d+)\.(\d+)\.(\d+)$", dockerfile, re.M)
hold(pinned and tuple(map(int, pinned.groups()[:2])) >= tuple(map(int, rust.split("."))), f"Dockerfile: Rust is not pinned to {rust} or later")
for part in ["amd64) target=x86_64-unknown-linux-gnu", "arm64) target=aarch64-unknown-linux-gnu", "+crt-static", "\nUSER 65532:65532\n",
             "\nEXPOSE 2055/udp 4739/udp 8081/tcp\n", 'CMD ["/usr/local/bin/clarion-collector", "healthcheck"]', "--locked"]:
    hold(part in dockerfile, f"Dockerfile: {part.strip()} is missing")

# Everything is left out but what cargo needs.
lines = [l for l in open(f"{here}/.dockerignore").read().splitlines() if l and not l.startswith("#")]
hold(lines[0] == "*", ".dockerignore lets everything through")
allowed = {l[1:] for l in lines[1:]}
for needed in ["Cargo.toml", "Cargo.lock", "build.rs", "src", "data", "benches"]:
    hold(needed in allowed, f".dockerignore: {needed} does not reach the builder")
hold(not allowed & {"target", ".git", "tests", "fuzz"}, ".dockerignore: the context holds what the builder does not need")
for entry in allowed:
    hold(os.path.exists(entry), f".dockerignore: there is no {entry}")

for fault in faults:
    print(fault, file=sys.stderr)
sys.exit(bool(faults))
PYTHON
    # Rules are mounted at another place there: syntax here, the rules have a check of their own.
    promtool check config --syntax-only "$here/deploy/compose/prometheus.yml" >"$here/promtool.log" 2>&1 || {
        cat "$here/promtool.log" >&2
        return 1
    }
}

# What the builder runs must be a shell script that can be read, with the comments that Docker takes out.
dockerfile_scripts() {
    python3 - <<'PYTHON'
import re
text = "\n".join(l for l in open("Dockerfile").read().splitlines() if not l.lstrip().startswith("#"))
for run in re.findall(r"^RUN ((?:.*\\\n)*.*)$", text, re.M):
    print("#!/bin/sh\nTARGETARCH=$1\n: \"$TARGETARCH\"\n" + run.replace("\\\n", "\n") + "\n\0", end="")
PYTHON
}

lay_out "$work/right"
check "$work/right"
echo "compose file, Prometheus configuration and Dockerfiles are right"

scripts=0
while IFS= read -r -d '' script; do
    printf '%s' "$script" >"$work/run.sh"
    sh -n "$work/run.sh"
    scripts=$((scripts + 1))
done < <(dockerfile_scripts)
((scripts == 2)) || {
    echo "found $scripts scripts in the Dockerfile, 2 expected" >&2
    exit 1
}

# Each damage by itself: file, expression of sed.
damages=(
    "docker-compose.yml|s/network_mode: host/network_mode: bridge/"
    "docker-compose.yml|s/read_only: true/read_only: yes please/"
    "docker-compose.yml|s/\"65532:65532\"/collector/"
    "docker-compose.yml|s/stop_grace_period: 30s/stop_grace_period: 20s/"
    "docker-compose.yml|s/:-9100-9199/:-8081/"
    "docker-compose.yml|s/cap_drop: \[ALL\]/cap_drop: [NET_RAW]/"
    "docker-compose.yml|s/mem_limit: 512m/memory_limit: 512m/"
    "docker-compose.yml|s#- targets:/etc/prometheus/targets:ro#- prometheus:/etc/prometheus/targets:ro#"
    "docker-compose.yml|s/prometheus:v[0-9.]*/prometheus:latest/"
    "deploy/compose/prometheus.yml|s/scrape_interval: 10s/scrape_interval: ten/"
    "deploy/compose/prometheus.yml|s#/metrics/prometheus#/metrics#"
    "deploy/container/Dockerfile.prebuilt|s/^USER .*/USER 0:0/"
    "Dockerfile|s/crt-static/sse2/"
    "Dockerfile|s/^ARG RUST_VERSION=.*/ARG RUST_VERSION=latest/"
    ".dockerignore|s/^\*$//"
    ".dockerignore|s/^!data$//"
)
for damage in "${damages[@]}"; do
    rm -rf "$work/damaged"
    lay_out "$work/damaged"
    file=$work/damaged/${damage%%|*}
    sed -i "${damage#*|}" "$file"
    if cmp -s "$file" "${damage%%|*}"; then
        echo "the damage $damage changes nothing: mend this script" >&2
        exit 1
    fi
    if check "$work/damaged" >/dev/null 2>&1; then
        echo "not found: $damage" >&2
        exit 1
    fi
done
echo "${#damages[@]} damages of ${#damages[@]} found"
