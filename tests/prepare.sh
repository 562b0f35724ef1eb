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
        haproxy) [ -x /usr/sbin/haproxy ] || command -v haproxy >/dev/null ;;
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

# Says what is wrong with the machine and ends.
give_up() {
    echo "$1" >&2
    exit 2
}

# There is a Rust toolchain, and it is new enough: distributions bring old ones.
rust() {
    local wanted found
    if ! command -v cargo >/dev/null; then
        [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
        command -v cargo >/dev/null || give_up "A Rust toolchain is missing: see https://rustup.rs"
    fi
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    found=$(cargo --version | cut -d ' ' -f 2)
    [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] ||
        give_up "Rust $wanted or later is needed, found $found: see https://rustup.rs"
}

# prepare THING...: installs what is missing.
prepare() {
    local thing missing=() root=()
    rust
    for thing in "$@"; do has "$thing" || missing+=("$(package "$thing")"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    local please="Missing: ${missing[*]} (names of Debian packages). Please install them."
    command -v apt-get >/dev/null || give_up "$please"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || give_up "$please"
        root=(sudo)
    fi
    section "installing ${missing[*]}"
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
