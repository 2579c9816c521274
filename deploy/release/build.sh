#!/usr/bin/env bash
# Makes what a release consists of, in dist/: a static binary for each target, man pages, completions, an archive and a
# Debian package for each, an SBOM, SHA256SUMS. docs/releasing.md is the recipe round it.
#
#   deploy/release/build.sh [TARGET...]     default: the target of this machine; the first one must run here
#
# The same commit, toolchain and C compiler give the same octets: times are those of the commit (SOURCE_DATE_EPOCH),
# paths of the build are mapped away, the lock file is binding. cargo-deb and cargo-cyclonedx are used if they are there.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
say() { printf '%s\n' "== $*"; }
die() { printf 'build.sh: %s\n' "$*" >&2 && exit 1; }

name=clarion-collector
host=$(rustc -vV | sed -n 's/^host: //p')
targets=("$@")
((${#targets[@]})) || targets=("$host")
[[ ${targets[0]} == "$host" ]] || die "the first target must be $host: the pages are made by running it"
version=$(cargo metadata --locked --no-deps --format-version 1 | sed -E 's/.*"name":"'$name'","version":"([^"]+)".*/\1/')
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+ ]] || die "no version in Cargo.toml"
if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) || die "no commit to take the date from: set SOURCE_DATE_EPOCH"
fi
export SOURCE_DATE_EPOCH
out=${CARGO_TARGET_DIR:-target}
[[ $out == /* ]] || out=$PWD/$out

# What the compiler would write into the binary: paths of this machine.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
flags="-C target-feature=+crt-static --remap-path-prefix=$PWD=/build --remap-path-prefix=$cargo_home=/cargo"
flags+=" --remap-path-prefix=$(rustc --print sysroot)=/rust"

build() { # target
    local strip=strip
    case $1 in
    "$host") ;;
    aarch64-unknown-linux-gnu)
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
        export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
        strip=aarch64-linux-gnu-strip
        command -v aarch64-linux-gnu-gcc >/dev/null || die "no aarch64-linux-gnu-gcc: apt-get install gcc-aarch64-linux-gnu"
        ;;
    x86_64-unknown-linux-gnu)
        export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc
        export CC_x86_64_unknown_linux_gnu=x86_64-linux-gnu-gcc
        strip=x86_64-linux-gnu-strip
        command -v x86_64-linux-gnu-gcc >/dev/null || die "no x86_64-linux-gnu-gcc: apt-get install gcc-x86-64-linux-gnu"
        ;;
    *) die "unknown target $1: x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu" ;;
    esac
    [[ -d $(rustc --print sysroot)/lib/rustlib/$1 ]] || die "the toolchain lacks $1: rustup target add $1"
    say "binary for $1"
    RUSTFLAGS=$flags CARGO_INCREMENTAL=0 CARGO_PROFILE_RELEASE_STRIP=debuginfo \
        cargo build --release --locked --target "$1"
    # Names of functions too: a third of the file, and a panic names its file and line without them.
    "$strip" --strip-all --enable-deterministic-archives "$out/$1/release/$name"
}

archive() { # target
    local arch=${1%%-*} root
    root=$name-$version-$arch-linux
    say "archive $root.tar.gz"
    rm -rf "dist/stage"
    mkdir -p "dist/stage/$root/deploy"
    cp "$out/$1/release/$name" LICENSE* README.md CHANGELOG.md "dist/stage/$root/"
    cp -r target/package/man target/package/completions "dist/stage/$root/"
    cp -r deploy/install.sh deploy/clarion-collector.toml deploy/{systemd,sysctl.d,sysusers.d,tmpfiles.d,nftables} \
        "dist/stage/$root/deploy/"
    # Modes of a checkout depend on who made it.
    chmod -R u=rwX,go=rX "dist/stage"
    tar --sort=name --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
        -C dist/stage -cf - "$root" | gzip -9n >"dist/$root.tar.gz"
    rm -rf dist/stage
}

package() { # target
    say "Debian package for $1"
    cargo deb --locked --no-build --no-strip --target "$1" --output dist/ >/dev/null
}

sbom() {
    say "SBOM $name-$version.cdx.json"
    cargo cyclonedx --format json --spec-version 1.5 --target all --override-filename "$name-$version.cdx" --quiet
    # It names components by where they lay when it was made.
    sed "s#path+file://$PWD#path+file:///build#g" "$name-$version.cdx.json" >"dist/$name-$version.cdx.json"
    rm "$name-$version.cdx.json"
}

rm -rf dist
mkdir dist
for target in "${targets[@]}"; do build "$target"; done

say "man pages, completions and the package's changelog"
deploy/release/pages.sh "$out/$host/release/$name"

for target in "${targets[@]}"; do
    archive "$target"
    if cargo deb --version >/dev/null 2>&1; then
        package "$target"
    else
        say "no Debian package: cargo install --locked cargo-deb"
    fi
done
if cargo cyclonedx --version >/dev/null 2>&1; then
    sbom
else
    say "no SBOM: cargo install --locked cargo-cyclonedx"
fi
(cd dist && sha256sum -- * >SHA256SUMS && cat SHA256SUMS)
