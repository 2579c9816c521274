#!/usr/bin/env bash
# Makes what packages hold beside the binary, in target/package: man pages, completions, the changelog of the package.
# Both are made by the program itself, which is the argument. `cargo deb` and build.sh take them from there.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
program=${1:?usage: pages.sh PROGRAM}
name=clarion-collector
package=target/package
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

rm -rf "$package"
mkdir -p "$package/man" "$package/completions"
"$program" man --out "$package/man"
for shell in bash elvish fish zsh; do
    "$program" completions "$shell" >"$package/completions/$name.$shell"
done
cat >"$package/changelog.Debian" <<CHANGELOG
$name ($("$program" --version | cut -d ' ' -f 2)-1) unstable; urgency=medium

  * Made from the release of this version; its CHANGELOG.md says what changed.

 -- $(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)  $(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
CHANGELOG
