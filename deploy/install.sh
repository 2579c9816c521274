#!/usr/bin/env bash
# Installs the collector on a Linux host with systemd: the binary, its user, directories, configuration, units, kernel
# settings, man pages and completions. Nothing is started or enabled; the last lines say how.
#
# Run again it changes what differs and nothing else. A configuration that was edited is never written over: the new
# one goes beside it as .new. docs/vm.md explains what is installed, and --dry-run shows it.
set -euo pipefail

usage() {
    cat <<'USAGE'
install.sh [--prefix DIR] [--root DIR] [--dry-run] [BINARY]
install.sh --uninstall [--purge] [--prefix DIR] [--root DIR] [--dry-run]

  BINARY        the program; default: beside this archive, else target/release/clarion-collector
  --prefix DIR  /usr/local (default) or /usr: systemd looks for units below these
  --root DIR    install below DIR as if it were /: for images and tests; nothing of this host is touched
  --dry-run     say what would be done, do nothing
  --uninstall   remove what was installed; keeps the configuration, the data and the user
  --purge       with --uninstall: these too
USAGE
}

die() { printf 'install.sh: %s\n' "$*" >&2 && exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=clarion-collector
prefix=/usr/local root="" binary="" dry=no action=install purge=no
while (($#)); do
    case $1 in
    --prefix | --root)
        (($# > 1)) || die "$1 needs a directory"
        if [[ $1 == --prefix ]]; then prefix=$2; else root=$2; fi
        shift
        ;;
    --dry-run) dry=yes ;;
    --uninstall) action=uninstall ;;
    --purge) purge=yes ;;
    -h | --help) usage && exit 0 ;;
    -*) usage >&2 && die "unknown option $1" ;;
    *) [[ -z $binary ]] || die "one binary only, but $binary and $1 were given" && binary=$1 ;;
    esac
    shift
done

# ---- may this be done here? ----
[[ $(uname -s) == Linux ]] || die "this host runs $(uname -s): the collector needs Linux 5.10 or later"
[[ $prefix == /usr || $prefix == /usr/local ]] ||
    die "--prefix $prefix: give /usr or /usr/local; systemd finds no units below other directories"
[[ $purge == no || $action == uninstall ]] || die "--purge goes with --uninstall"
if [[ -n $root ]]; then
    [[ -d $root ]] || die "--root $root is no directory: make it first"
    root=$(cd "$root" && pwd)
    [[ $root != / ]] || root=""
fi
if [[ -z $root && $dry == no ]]; then
    [[ $(id -u) == 0 ]] || die "not root: run it with sudo, or with --root DIR or --dry-run to look first"
    [[ -d /run/systemd/system ]] ||
        die "systemd does not run this host: use the container, or --root DIR to unpack the files and start it yourself"
fi
if [[ $action == install ]]; then
    if [[ -z $binary ]]; then
        for binary in "$here/../$name" "$here/../target/release/$name" ""; do [[ ! -f $binary ]] || break; done
    fi
    [[ -n $binary ]] || die "no binary: build one (cargo build --release), or name it: install.sh PATH"
    [[ -f $binary && -x $binary ]] || die "$binary is no program"
    version=$("$binary" --version 2>/dev/null) || die "$binary does not run here: is it for another processor?"
    [[ $version == "$name "* ]] || die "$binary is not $name but says: $version"
fi

bin=$prefix/bin
lib=$prefix/lib
man=$prefix/share/man/man1
etc=/etc/$name
data=/var/lib/$name
config=$etc/$name.toml
# What was installed last: a configuration that is still equal to it was not edited.
shipped=$prefix/share/$name/$name.toml
completions=(
    "bash $prefix/share/bash-completion/completions/$name"
    "fish $prefix/share/fish/vendor_completions.d/$name.fish"
    "zsh $prefix/share/zsh/site-functions/_$name"
)

say() { printf '%-10s %s\n' "$1" "${*:2}"; }
run() { if [[ $dry == no ]]; then "$@"; fi; }
# Commands that concern the running host: not for an image that is being made, nor for a dry run.
on_host() {
    [[ -z $root ]] || return 0
    say run "$*"
    run "$@"
}

file() { # source, destination, mode
    if [[ -f $root$2 ]] && cmp -s "$1" "$root$2"; then
        say same "$2"
        run chmod "$3" "$root$2"
        return
    fi
    say install "$2"
    # Written beside and renamed: a running binary cannot be written, and nobody sees half of a file.
    run install -D -m "$3" "$1" "$root$2.installing"
    run mv -f "$root$2.installing" "$root$2"
}

text() { # destination; the content comes on standard input
    cat >"$scratch/text"
    file "$scratch/text" "$1" 0644
}

directory() { # path, mode, group
    say directory "$1"
    run install -d -m "$2" "$root$1"
    # In an image the group may not exist yet; the units set owner and mode of their directories at start.
    if [[ -z $root ]]; then run chgrp "$3" "$1"; fi
}

configuration() {
    if [[ ! -e $root$config ]]; then
        file "$here/$name.toml" "$config" 0640
    elif cmp -s "$here/$name.toml" "$root$config"; then
        say same "$config"
    elif [[ -e $root$shipped ]] && cmp -s "$root$shipped" "$root$config"; then
        say update "$config (it was not edited)"
        file "$here/$name.toml" "$config" 0640
    else
        say keep "$config (it was edited); the new one is $config.new"
        file "$here/$name.toml" "$config.new" 0640
    fi
    if [[ -z $root ]]; then run chgrp "$name" "$config"; fi
    file "$here/$name.toml" "$shipped" 0644
}

do_install() {
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    say version "$version"
    file "$binary" "$bin/$name" 0755

    mkdir "$scratch/man"
    "$binary" man --out "$scratch/man"
    local page row unit example
    for page in "$scratch"/man/*; do file "$page" "$man/$(basename "$page")" 0644; done
    for row in "${completions[@]}"; do
        "$binary" completions "${row%% *}" | text "${row#* }"
    done

    file "$here/sysusers.d/$name.conf" "$lib/sysusers.d/$name.conf" 0644
    file "$here/tmpfiles.d/$name.conf" "$lib/tmpfiles.d/$name.conf" 0644
    file "$here/sysctl.d/60-$name.conf" "$lib/sysctl.d/60-$name.conf" 0644
    on_host systemd-sysusers "$lib/sysusers.d/$name.conf"

    directory "$etc" 0750 "$name"
    directory "$etc/secrets" 0750 "$name"
    configuration
    # Data and run directories are made by the unit and by tmpfiles.d.
    on_host systemd-tmpfiles --create "$lib/tmpfiles.d/$name.conf"

    for unit in "$name.service" "$name@.service"; do
        sed "s#^ExecStart=/usr/bin/#ExecStart=$bin/#" "$here/systemd/$unit" | text "$lib/systemd/system/$unit"
    done
    for example in "$here"/systemd/examples/* "$here"/nftables/*.nft; do
        file "$example" "$prefix/share/$name/examples/$(basename "$example")" 0644
    done
    on_host systemctl daemon-reload
    if ! on_host sysctl --quiet --load "$lib/sysctl.d/60-$name.conf"; then
        say note "the kernel did not take all settings (a container?): set them on the host that owns the kernel"
    fi

    cat <<NEXT

Next:
  1. edit $config, at least [backend] url
  2. $name check                      what is in effect, and the memory it takes
  3. systemctl enable --now $name     (a running one: systemctl restart $name)
  4. journalctl -u $name -f           what it obtained; curl http://127.0.0.1:8081/readyz
NEXT
}

remove() {
    local path
    for path; do
        [[ -e $root$path || -L $root$path ]] || continue
        say remove "$path"
        # Every path here is made of constants and a checked prefix, never empty.
        run rm -rf -- "$root/${path#/}"
    done
}

do_uninstall() {
    local unit row
    # It drains: what was received is delivered first. Instances too, which `disable` knows by their links alone.
    on_host systemctl stop "$name*.service" || say note "not all units could be stopped"
    for unit in "$root/etc/systemd/system"/*.wants/"$name".service "$root/etc/systemd/system"/*.wants/"$name"@*.service; do
        remove "${unit#"$root"}"
    done
    for unit in "$name.service" "$name@.service"; do remove "$lib/systemd/system/$unit"; done
    for row in "${completions[@]}"; do remove "${row#* }"; done
    for row in "$root$man/$name.1" "$root$man/$name"-*.1; do remove "${row#"$root"}"; done
    remove "$bin/$name" "$prefix/share/$name" "$lib/sysusers.d/$name.conf" "$lib/tmpfiles.d/$name.conf" \
        "$lib/sysctl.d/60-$name.conf" /run/$name
    on_host systemctl daemon-reload
    if [[ $purge == yes ]]; then
        remove "$etc" "$data"
        if [[ -z $root ]] && id "$name" >/dev/null 2>&1; then on_host userdel "$name"; fi
    else
        say keep "$etc and $data, and the user $name (--purge removes them)"
    fi
    say note "kernel settings stay until the next boot"
}

"do_$action"
