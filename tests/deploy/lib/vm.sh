# shellcheck shell=bash
# For the checks of installing on a host: where the program is, how to leave, how to say what is wrong.
#
# Source it from the repository's root. `program` is the newest build there is; `scratch` goes away at the end.

die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2 && exit 1; }
# The gate shows the last line.
cannot() { printf 'could not run: %s\n' "$*" && exit 77; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

program=""
for candidate in "${CARGO_TARGET_DIR:-target}"/release/clarion-collector "${CARGO_TARGET_DIR:-target}"/debug/clarion-collector; do
    if [[ -x $candidate && (-z $program || $candidate -nt $program) ]]; then program=$(realpath "$candidate"); fi
done
[[ -n $program ]] || cannot "no program: cargo build"

# Fails if the command succeeds: what a check must refuse. Its output is shown only then.
refuses() { # what is broken, command...
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then
        printf '%s\n' "$said"
        die "not refused: $what"
    fi
}

# As above, and it must say why.
refuses_saying() { # words, command...
    local words=$1 said
    shift
    said=$("$@" 2>&1) && die "not refused: $*"
    [[ $said == *"$words"* ]] || die "$* is refused without saying \"$words\": $said"
}
