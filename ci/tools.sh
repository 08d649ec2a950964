# What the scripts of this directory share: how they get the tools that they need. Sourced from the root of the tree.

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/tools"
target=$(cd "$target" && pwd)
readonly target tools=$target/tools

# The same features everywhere, so that nothing is built twice.
readonly everything=(--workspace --all-features --locked)

export CARGO_TARGET_DIR=$target
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
export PYTHONDONTWRITEBYTECODE=1
export PIP_DISABLE_PIP_VERSION_CHECK=1
# Where Debian keeps servers, and not everyone looks.
export PATH=$PATH:/usr/sbin

python_env() {
    local env=$tools/$1 requirements=$2
    need_python
    if ! cmp --silent "$requirements" "$env/installed"; then
        rm -rf "$env"
        python3 -m venv "$env"
        "$env/bin/python" -m pip install --quiet --require-hashes --requirement "$requirements"
        cp "$requirements" "$env/installed"
    fi
}

need_python() {
    command -v python3 >/dev/null || fail "python3 is missing: install Python 3.10 or newer, with its venv module"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "python3 is $(python3 --version), not 3.10 or newer"
    python3 -c 'import ensurepip' 2>/dev/null || install_package python3-venv
}

node_tests() {
    command -v npm >/dev/null || fail "npm is missing: install Node.js 20.18.1 or newer, with npm"
    (cd "$1" && npm ci --no-audit --no-fund --loglevel=error && npm test)
}

need_command() {
    command -v "$1" >/dev/null || install_package "$2"
    command -v "$1" >/dev/null || fail "$1 is missing, though the package $2 is installed"
}

install_package() {
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        fail "$1 is missing: install it (on Debian: sudo apt-get install $1), or run this as root on Debian"
    fi
    echo "installing the Debian package $1"
    if [[ -z ${apt_updated:-} ]]; then
        apt-get update --quiet=2
        apt_updated=yes
    fi
    # A server's package starts the server, but for this run level.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "$1" >"$tools/apt.log" 2>&1 ||
        { cat "$tools/apt.log"; fail "the Debian package $1 could not be installed"; }
}

fail() {
    echo "error: $1" >&2
    exit 1
}
