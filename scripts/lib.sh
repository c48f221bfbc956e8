# shellcheck shell=bash
# What the set-up scripts share; sourced, never run.

say() { printf '%s: %s\n' "$STEP" "$*"; }

die() {
    printf '%s: %s\n' "$STEP" "$*" >&2
    exit 1
}

# Whether this user may install packages of a Debian-like system without being asked for a password.
may_apt() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Runs a command without its output, unless it fails: then its last lines are what tells why.
quietly() {
    local output
    if ! output=$("$@" 2>&1); then
        printf '%s\n' "$output" | tail -n 20 >&2
        return 1
    fi
}

# Installs packages of the distribution. The lists are fetched anew, since an image often has none; a source
# that does not answer must not fail the rest, so only the installation decides.
apt_install() {
    as_root apt-get update -qq >/dev/null 2>&1 || true
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}
