#!/usr/bin/env bash
# Runs the command blocks of README.md, CONTRIBUTING.md and docs/*.md, as a reader would, and lists those that are not
# run with the reason that their document gives. How blocks are marked: tests/deploy/lib/docs.py.
#
# First it makes sure that it can fail: documents that are wrong on purpose must be refused.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

for tool in python3 git cargo; do
    command -v "$tool" >/dev/null || {
        echo "$tool is not here"
        exit 77
    }
done

cargo build --quiet
binary=$(realpath "${CARGO_TARGET_DIR:-target}/debug/clarion-collector")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

run() { python3 tests/deploy/lib/docs.py --binary "$binary" "$@"; }

# name, marks, block, the word that the refusal must have
must_fail() {
    # shellcheck disable=SC2016 # backticks of Markdown
    printf '%s\n```sh\n%s\n```\n' "$2" "$3" >"$scratch/$1.md"
    if run "$scratch/$1.md" >"$scratch/said" 2>&1; then
        echo "tests/deploy/lib/docs.py did not notice: $1"
        exit 1
    fi
    grep -q -- "$4" "$scratch/said" || {
        echo "tests/deploy/lib/docs.py refused $1 for another reason:"
        cat "$scratch/said"
        exit 1
    }
}
must_fail "failing" "" $'false\necho not reached' 'ended with 1'
must_fail "pipe" "" 'clarion-collector no-such-command | cat' 'ended with 2'
must_fail "code" "<!-- exit: 3 -->" 'exit 4' 'ended with 4'
must_fail "silent" "<!-- shows: a word -->" 'echo other' 'a word'
must_fail "cluster" "" 'echo x | kubectl apply -f -' 'kubectl'
must_fail "root" "" 'sudo true' 'sudo'
must_fail "mark" "<!-- not-run: typing error -->" 'true' 'unknown mark'
must_fail "reason" "<!-- not run: -->" 'true' 'reason'
must_fail "dies" "<!-- background -->" 'clarion-collector backend --listen 127.0.0.1:99999' 'before it was ready'
must_fail "unclean" "<!-- background: until test -e up -->" $'touch up; bash -c "trap \'exit 5\' TERM; sleep 20 & wait"' 'ended with 5'

cat >"$scratch/good.md" <<'END'
<!-- background -->
```sh
export WHERE=127.0.0.1:8000
clarion-collector backend --listen "$WHERE"
```

<!-- shows: "status" -->
<!-- needs: curl -->

```console
$ curl -fsS "http://$WHERE/health"
{"status":"ok"}
$ mkdir -p deeper && cd deeper \
>   && pwd
```

<!-- not run: needs a cluster -->
```sh
kubectl apply -k deploy/kubernetes
```

<!-- stop -->
<!-- exit: 7 -->
```sh
[[ $(basename "$PWD") == deeper && -e ../README.md ]]
# The port is free again.
clarion-collector backend --listen "$WHERE" --seconds 1 && exit 7
```
END
run "$scratch/good.md" >"$scratch/said" 2>&1 || {
    echo "tests/deploy/lib/docs.py refused a document that is right:"
    cat "$scratch/said"
    exit 1
}

run README.md CONTRIBUTING.md docs/*.md
