# To be sourced by ./test and ./demo: installs what is missing, and says so.

section() {
    printf '\n=== %s\n' "$1"
}

# True when a thing is there.
has() {
    case $1 in
        initdb)
            local bin
            for bin in "${GATEWAY_PG_BIN:-/none}" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
                [ -x "$bin/initdb" ] && return
            done
            command -v initdb >/dev/null
            ;;
        venv) python3 -c 'import venv, ensurepip' 2>/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# The Debian package that brings it.
package() {
    case $1 in
        initdb) echo postgresql ;;
        cc) echo build-essential ;;
        node) echo nodejs ;;
        venv) echo python3-venv ;;
        *) echo "$1" ;;
    esac
}

# prepare THING...: installs what is missing.
prepare() {
    local thing missing=()
    if ! command -v cargo >/dev/null; then
        [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
        command -v cargo >/dev/null || { echo "A Rust toolchain is missing: see https://rustup.rs" >&2 && exit 2; }
    fi
    for thing in "$@"; do has "$thing" || missing+=("$(package "$thing")"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "Missing: ${missing[*]} (names of Debian packages). Please install them." >&2
        exit 2
    fi
    section "installing ${missing[*]}"
    local root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo)
    "${root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
