#!/usr/bin/env bash
# The Debian package: its table in Cargo.toml names what exists or what pages.sh makes, its scripts are right, and, where
# cargo-deb is at hand, it is built, looked through by lintian where that is there, unpacked and its program run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec </dev/null
# shellcheck source=tests/deploy/lib/vm.sh
source tests/deploy/lib/vm.sh
command -v python3 >/dev/null || cannot "no python3: apt-get install python3"
python3 -c 'import tomllib' 2>/dev/null || cannot "python3 is older than 3.11"
name=clarion-collector

for script in deploy/debian/{postinst,prerm,postrm}; do
    sh -n "$script" || die "$script does not parse"
    grep -qx '#DEBHELPER#' "$script" || die "$script has no place for the fragments that know the units"
done

deploy/release/pages.sh "$program"
assets() { # Cargo.toml
    python3 - "$1" <<'PY'
import glob, sys, tomllib
deb = tomllib.load(open(sys.argv[1], "rb"))["package"]["metadata"]["deb"]
targets = [row[1] + (row[0].rsplit("/", 1)[-1] if row[1].endswith("/") else "") for row in deb["assets"]]
faults = [f"an asset whose source is not there: {row[0]}" for row in deb["assets"]
          if not row[0].startswith("target/release/") and not glob.glob(row[0])]
faults += [f"{file} is no asset" for file in deb["conf-files"] if file.lstrip("/") not in targets]
faults += [f"{file} is not there" for file in (deb["changelog"], deb["license-file"][0]) if not glob.glob(file)]
faults += [f"no unit {unit['unit-name']}" for unit in deb["systemd-units"]
           if not glob.glob(f"{unit['unit-scripts']}/{unit['unit-name']}.service")]
# What install.sh installs, the package has too.
for kind in ("sysusers.d", "tmpfiles.d", "sysctl.d"):
    for file in glob.glob(f"deploy/{kind}/*"):
        if f"usr/lib/{kind}/{file.rsplit('/', 1)[1]}" not in targets:
            faults.append(f"{file} is not packaged")
print("\n".join(faults), end="")
sys.exit(bool(faults))
PY
}
assets Cargo.toml || die "the table of Cargo.toml is not right"
sed 's#deploy/sysctl.d/60-#deploy/sysctl.d/61-#' Cargo.toml >"$scratch/Cargo.toml"
refuses "an asset that is not there" assets "$scratch/Cargo.toml"

if ! cargo deb --version >/dev/null 2>&1; then
    echo "deb.sh: table and scripts are right; not built: cargo install --locked cargo-deb"
    exit 0
fi
# cargo-deb takes the program from the target directory; an unoptimised one is good enough to look at.
mkdir -p "$scratch/target/release"
cp "$program" "$scratch/target/release/"
strip --strip-all "$scratch/target/release/$name"
CARGO_TARGET_DIR=$scratch/target cargo deb --locked --no-build --no-strip --output "$scratch/package.deb" >"$scratch/said" 2>&1 ||
    die "cargo deb: $(cat "$scratch/said")"
if grep -i duplicate "$scratch/said"; then die "cargo deb finds a file twice"; fi
dpkg-deb -x "$scratch/package.deb" "$scratch/x"
dpkg-deb -e "$scratch/package.deb" "$scratch/control"
for script in "$scratch"/control/{postinst,prerm,postrm}; do sh -n "$script" || die "$(basename "$script") does not parse"; done
grep -q 'daemon-reload' "$scratch/control/postinst" "$scratch/control/postrm" || die "the package forgets the units"
[[ $(cat "$scratch/control/conffiles") == /etc/$name/$name.toml ]] || die "conffiles: $(cat "$scratch/control/conffiles")"
"$scratch/x/usr/bin/$name" check --config "$scratch/x/etc/$name/$name.toml" >/dev/null || die "the packaged program or configuration"
for file in usr/lib/systemd/system/$name.service usr/lib/systemd/system/$name@.service usr/share/man/man1/$name.1.gz \
    usr/lib/sysusers.d/$name.conf usr/share/bash-completion/completions/$name; do
    [[ -s $scratch/x/$file ]] || die "the package has no /$file"
done
if command -v lintian >/dev/null; then
    # Errors only: two warnings are meant (a configuration that not everybody reads, instances stopped by prerm).
    lintian --allow-root --fail-on error "$scratch/package.deb" >"$scratch/lintian" 2>&1 || die "$(grep '^E' "$scratch/lintian")"
fi
echo "deb.sh: built, unpacked and run"
