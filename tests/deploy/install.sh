#!/usr/bin/env bash
# deploy/install.sh into a directory: first time, again, over an edited configuration, and away again.
#
# What it does to a running host (user, sysctl, reload) is not done below --root; systemd-live.sh starts what it
# installed. Needs no privilege.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec </dev/null
# shellcheck source=tests/deploy/lib/vm.sh
source tests/deploy/lib/vm.sh

root=$scratch/root
config=$root/etc/clarion-collector/clarion-collector.toml
mkdir "$root"
install_here() { deploy/install.sh --root "$root" "$@" "$program"; }
# Names, modes and contents of all files.
state() { (cd "$root" && find . -printf '%p %M %l\n' | sort && find . -type f -exec sha256sum {} + | sort); }

# Nothing by --dry-run, and all of it said.
install_here --dry-run >"$scratch/dry"
[[ -z $(find "$root" -mindepth 1) ]] || die "--dry-run wrote something: $(find "$root" -mindepth 1)"

install_here >"$scratch/first"
diff <(sed '/^run /d' "$scratch/dry") <(sed '/^run /d' "$scratch/first") || die "--dry-run says something else than what is done"
for path in usr/local/bin/clarion-collector usr/local/lib/systemd/system/clarion-collector.service \
    usr/local/lib/systemd/system/clarion-collector@.service usr/local/lib/sysusers.d/clarion-collector.conf \
    usr/local/lib/tmpfiles.d/clarion-collector.conf usr/local/lib/sysctl.d/60-clarion-collector.conf \
    usr/local/share/man/man1/clarion-collector.1 usr/local/share/man/man1/clarion-collector-check.1 \
    usr/local/share/bash-completion/completions/clarion-collector usr/local/share/zsh/site-functions/_clarion-collector \
    usr/local/share/fish/vendor_completions.d/clarion-collector.fish etc/clarion-collector/clarion-collector.toml; do
    [[ -s $root/$path ]] || die "first install: /$path is missing"
done
[[ $(stat -c %a "$config") == 640 ]] || die "the configuration may hold secrets, but has mode $(stat -c %a "$config")"
"$root/usr/local/bin/clarion-collector" check --config "$config" >/dev/null || die "the installed configuration is not right"
grep -q '^ExecStart=/usr/local/bin/clarion-collector$' "$root/usr/local/lib/systemd/system/clarion-collector.service" ||
    die "the unit does not start what was installed"

# Again: nothing changes.
state >"$scratch/before"
install_here >"$scratch/second"
diff "$scratch/before" <(state) || die "a second install changes something"
refuses "a second install that installs" grep -E '^(install|update)' "$scratch/second"

# A new default goes over a configuration that nobody edited, and beside one that somebody did.
printf '# older\n' | tee "$config" >"$root/usr/local/share/clarion-collector/clarion-collector.toml"
install_here >/dev/null
cmp -s deploy/clarion-collector.toml "$config" || die "a configuration that was not edited is not updated"
printf '\n[batch]\nsize = 500\n' >>"$config"
cp "$config" "$scratch/edited"
install_here >"$scratch/third"
cmp -s "$scratch/edited" "$config" || die "an edited configuration was written over"
cmp -s deploy/clarion-collector.toml "$config.new" || die "there is no .new beside an edited configuration"
grep -q '^keep .*was edited' "$scratch/third" || die "it does not say that an edited configuration is kept"
# A second prefix, as packages have it.
mkdir "$scratch/usr"
deploy/install.sh --root "$scratch/usr" --prefix /usr "$program" >/dev/null
grep -q '^ExecStart=/usr/bin/clarion-collector$' "$scratch/usr/usr/lib/systemd/system/clarion-collector.service" ||
    die "--prefix /usr: the unit does not start what was installed"

# Away: configuration, data and what others own stay.
mkdir -p "$root/var/lib/clarion-collector/state" "$root/etc/systemd/system/multi-user.target.wants"
echo x >"$root/var/lib/clarion-collector/state/instance"
touch "$root/usr/local/bin/other"
ln -s /usr/local/lib/systemd/system/clarion-collector@.service \
    "$root/etc/systemd/system/multi-user.target.wants/clarion-collector@a.service"
deploy/install.sh --root "$root" --uninstall --dry-run >/dev/null
[[ -x $root/usr/local/bin/clarion-collector ]] || die "--uninstall --dry-run removes something"
deploy/install.sh --root "$root" --uninstall >/dev/null
left=$(cd "$root" && find . ! -type d | sort)
expected=$(printf '%s\n' ./etc/clarion-collector/clarion-collector.toml ./etc/clarion-collector/clarion-collector.toml.new \
    ./usr/local/bin/other ./var/lib/clarion-collector/state/instance)
[[ $left == "$expected" ]] || die "left by --uninstall: $left"
deploy/install.sh --root "$root" --uninstall --purge >/dev/null
left=$(cd "$root" && find . ! -type d)
[[ $left == ./usr/local/bin/other ]] || die "left by --uninstall --purge: $left"

# What cannot work is refused before anything is written, in words.
printf '#!/bin/sh\necho other 1.0\n' >"$scratch/other" && chmod +x "$scratch/other"
refuses_saying "is not clarion-collector" deploy/install.sh --root "$root" "$scratch/other"
refuses_saying "is no program" deploy/install.sh --root "$root" README.md
refuses_saying "give /usr or /usr/local" deploy/install.sh --root "$root" --prefix /opt/x "$program"
refuses_saying "is no directory" deploy/install.sh --root "$scratch/nowhere" "$program"
refuses_saying "goes with --uninstall" deploy/install.sh --purge "$program"
refuses_saying "unknown option" deploy/install.sh --prefx /usr "$program"
if [[ $(id -u) != 0 ]]; then
    refuses_saying "not root" deploy/install.sh "$program"
elif [[ ! -d /run/systemd/system ]]; then
    refuses_saying "systemd does not run this host" deploy/install.sh "$program"
fi
[[ $(cd "$root" && find . ! -type d) == ./usr/local/bin/other ]] || die "a refusal wrote something"
echo "install.sh: installed, again, over an edited file, away, and seven refusals"
