#!/usr/bin/env bash
# deploy/kubernetes: every shape renders, fits the schemas of Kubernetes 1.29 and the newest, and keeps our own rules.
#
# Ends with 77 where a tool cannot be had; the last line says which. Custom resources are held against the operators'
# schemas where those are beside the repository (CLARION_SHARED). No cluster is needed, nothing is applied.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec </dev/null
# shellcheck source=tests/deploy/lib/kubernetes_tools.sh
source tests/deploy/lib/kubernetes_tools.sh

kubectl="" python=""
mkdir -p "$tools"
find_python || exit 77
find_kubectl || exit 77
command -v cargo >/dev/null || { echo "cargo is not here" && exit 77; }
cargo build --quiet --bin clarion-collector
program=${CARGO_TARGET_DIR:-target}/debug/clarion-collector

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r deploy/kubernetes "$work/kubernetes"
# Python would leave its compiled files in the tree.
export PYTHONDONTWRITEBYTECODE=1

# The commented components of the overlays, as a site would take them.
with() { # name, overlay, components...
    local folder=$work/kubernetes/overlays/$1 component
    mkdir "$folder"
    {
        printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: clarion-collector\n'
        printf 'resources: [../../%s]\ncomponents:\n' "$2"
        for component in "${@:3}"; do printf '  - ../../components/%s\n' "$component"; done
    } >"$folder/kustomization.yaml"
}
with host-scaled base autoscaling prometheus-operator
with service-scaled overlays/service-local autoscaling prometheus-operator

render() { # folder below kubernetes, name
    "$kubectl" kustomize "$work/kubernetes/$1" >"$work/$2.yaml"
    files+=("$work/$2.yaml")
}
files=()
render base base
for overlay in host-network service-local host-scaled service-scaled; do render "overlays/$overlay" "$overlay"; done
render node-sysctl node-sysctl
echo "rendered: ${#files[@]} shapes by $("$kubectl" version --client 2>/dev/null | head -n 1)"

# Core kinds and custom ones apart: each has schemas of its own.
"$python" - "$work" "${files[@]}" <<'PYTHON'
import os, sys, yaml
for path in sys.argv[2:]:
    with open(path) as file:
        objects = [o for o in yaml.safe_load_all(file) if o]
    for kind, chosen in (("core", False), ("custom", True)):
        kept = [o for o in objects if o["apiVersion"].startswith("monitoring.coreos.com/") == chosen]
        if kept:
            with open(f"{sys.argv[1]}/{kind}-{os.path.basename(path)}", "w") as file:
                yaml.safe_dump_all(kept, file)
PYTHON
newest=$("$python" -c 'import kubernetes_validate; print(kubernetes_validate.latest_version())')
validate() { "$python" -m kubernetes_validate --strict --quiet -k "$1" "${@:2}"; }
validate 1.29.0 "$work"/core-*.yaml
validate "$newest" "$work"/core-*.yaml
# A field that does not exist must be refused, else the two lines above prove nothing.
sed 's/enableServiceLinks/enableServiceLink/' "$work/core-base.yaml" >"$work/broken.yaml"
if validate 1.29.0 "$work/broken.yaml" >/dev/null 2>&1; then
    echo "kubernetes-validate took a field that does not exist" >&2
    exit 1
fi
echo "schemas: 1.29.0 and $newest accept every object"

schemas=${CLARION_SHARED:-../shared}/schemas/check_crs.py
if [[ -e $schemas ]]; then
    "$python" "$schemas" "$work"/custom-*.yaml
    sed 's/scrapeTimeout/scrapeTimeOut/' "$work/custom-host-scaled.yaml" >"$work/broken.yaml"
    if "$python" "$schemas" "$work/broken.yaml" >/dev/null 2>&1; then
        echo "check_crs.py took a field that does not exist" >&2
        exit 1
    fi
else
    echo "SKIPPED: custom resources, there is no $schemas"
fi

# What the overlay shows in comments for a site's own values works as it stands there.
site=$work/kubernetes/overlays/site
cp -r "$work/kubernetes/overlays/host-network" "$site"
sed -i '1,/^# What a site replaces/!s/^# //' "$site/kustomization.yaml"
sed 's/backend\.example/backend.site.example/' deploy/kubernetes/base/clarion-collector.toml >"$site/clarion-collector.toml"
printf 'backend-token=of-the-site\nhttp-token=of-the-site\n' >"$site/secret.env"
"$kubectl" kustomize "$site" >"$work/site.yaml"
validate 1.29.0 "$work/site.yaml"
for expected in backend.site.example image:.registry.example/clarion-collector:0.1.0 \
    "backend-token: $(printf of-the-site | base64)" 'clarion-collector/receives: "true"'; do
    grep -q -- "$expected" "$work/site.yaml" || { echo "a site's overlay: no $expected in what it renders" >&2 && exit 1; }
done
if grep -q 'backend.example' "$work/site.yaml"; then echo "a site's overlay keeps the example's backend" >&2 && exit 1; fi
echo "site: the commented example works"

rules() {
    "$python" tests/deploy/lib/kubernetes_rules.py --program "$program" --metrics docs/metrics.md \
        --adapter deploy/kubernetes/components/autoscaling/prometheus-adapter-rules.yaml "$@" "${files[@]}"
}
rules --serve
echo "rules: kept by every shape"
rules --self-test
echo "the manifests of Kubernetes are right"
