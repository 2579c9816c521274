#!/usr/bin/env bash
# Packs a static binary into the image, without a builder: pack.sh BINARY TAG [docker build arguments].
#
# Refuses what the empty image could not run. Leaves nothing behind but the image.
set -euo pipefail

if (($# < 2)); then
    echo "usage: pack.sh BINARY TAG [arguments of docker build, such as --build-arg REVISION=...]" >&2
    exit 2
fi
binary=$1
tag=$2
shift 2
[[ -f $binary ]] || {
    echo "pack.sh: there is no $binary; docs/container.md says how to build it" >&2
    exit 1
}
# A dynamic program names its loader; the empty image has none.
if LC_ALL=C grep -aq -m 1 -e '/ld-linux-' -e '/ld-musl-' -e '/lib/ld' <(head -c 4096 "$binary"); then
    echo "pack.sh: $binary is not static, the image could not start it: build it with" \
        'RUSTFLAGS="-C target-feature=+crt-static" and --target (docs/container.md)' >&2
    exit 1
fi

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir -p "$context/usr/local/bin" "$context/var/lib/clarion-collector" "$context/run/clarion-collector/targets"
install -m 0755 "$binary" "$context/usr/local/bin/clarion-collector"
chmod -R go+rX "$context"
cp "$(dirname "${BASH_SOURCE[0]}")/Dockerfile.prebuilt" "$context/Dockerfile"
docker build --tag "$tag" "$@" "$context"
