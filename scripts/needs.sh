# shellcheck shell=bash
# What a system must have to build and test Kinora, and how to go on when it lacks it.
# Sourced by ./run and ./test from the checkout's folder; defines functions and lists, does nothing.

RUST_NEEDED=1.85
NODE_NEEDED=18

# shellcheck disable=SC2034 # read by those who source this
BUILD_PACKAGES=(
    gcc make pkg-config clang libclang-dev
    libavcodec-dev libavfilter-dev libavformat-dev libavutil-dev libswresample-dev libswscale-dev
)

# What `cargo xtask vm` builds and boots test machines with; it reads this list.
# shellcheck disable=SC2034 # read by those who source this
VM_PACKAGES=(
    debian-archive-keyring mmdebstrap qemu-system-x86 uidmap
)

say() { printf '%s\n' "$*" >&2; }

# installed PACKAGE...: the ones that dpkg has, a line each.
installed() {
    # dpkg-query fails when one of them is unknown and still prints the others.
    dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p' || true
}

# missing_packages PACKAGE...: the ones that dpkg lacks, a line each. Nothing where there is no dpkg.
missing_packages() {
    command -v dpkg-query >/dev/null || return 0
    comm -23 <(printf '%s\n' "$@" | sort -u) <(installed "$@" | sort -u)
}

# chromium_package: Ubuntu calls it by another name and brings it as a snap.
chromium_package() {
    if grep -qs '^ID=ubuntu$' /etc/os-release; then echo chromium-browser; else echo chromium; fi
}

# install_packages PACKAGE...: says what is missing and installs it with apt, through sudo when not root.
install_packages() {
    local missing as_root=()
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]})) || return 0
    say "Missing packages: ${missing[*]}"
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            say "Install them as root and start again: apt-get install ${missing[*]}"
            return 1
        fi
        as_root=(sudo)
        # Without a terminal nobody can type a password: fail with sudo's own message instead.
        [[ -t 0 ]] || as_root+=(-n)
        say "Installing them with sudo apt-get."
    else
        say "Installing them with apt-get."
    fi
    # A package list that cannot be renewed may still be good enough.
    "${as_root[@]}" apt-get update -qq || say "apt-get update failed; going on with the package lists as they are."
    if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2; then
        say "apt-get could not install them. When that is mended, start again."
        return 1
    fi
}

# at_least VERSION NEEDED
at_least() { [[ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" == "$2" ]]; }

# need_tool COMMAND NEEDED VERSION HOW: says how to get a tool that is missing or too old.
need_tool() {
    local version=$3
    if [[ -z $version ]]; then
        say "Missing: $1 $2 or newer. $4"
    elif ! at_least "$version" "$2"; then
        say "Too old: $1 $version; Kinora needs $2 or newer. $4"
    else
        return 0
    fi
    return 1
}

rust_version() { { command -v cargo && rustc --version; } 2>/dev/null | sed -n 's/^rustc \([0-9.]*\).*/\1/p'; }
node_version() { { command -v npm && node --version; } 2>/dev/null | sed -n 's/^v\([0-9.]*\)$/\1/p'; }

need_rust() {
    need_tool rustc "$RUST_NEEDED" "$(rust_version)" \
        "Get it from https://rustup.rs, or on Debian 13 with: apt-get install cargo"
}

need_node() {
    need_tool node "$NODE_NEEDED" "$(node_version)" \
        "Get it (with npm) from https://nodejs.org, or with: apt-get install nodejs npm"
}

# npm_current FOLDER: whether the folder's packages are those of its lock file.
npm_current() { cmp -s "$1/package-lock.json" "$1/node_modules/.installed-lock.json"; }

# npm_packages FOLDER: installs the folder's packages when its lock file changed.
npm_packages() {
    npm_current "$1" && return 0
    say "Installing the packages of $1."
    npm ci --prefix "$1" --no-audit --no-fund --loglevel=error >&2 &&
        cp "$1/package-lock.json" "$1/node_modules/.installed-lock.json"
}
