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

# Installs the Debian packages of the commands that are missing, each given as COMMAND or COMMAND:PACKAGE; where that can't be done,
# it names them all at once.
need() {
    local one packages=()
    for one in "$@"; do
        has "${one%%:*}" || [[ " ${packages[*]} " == *" ${one#*:} "* ]] || packages+=("${one#*:}")
    done
    [[ ${#packages[@]} == 0 ]] || install_packages "${packages[@]}"
    for one in "$@"; do
        has "${one%%:*}" || fail "${one%%:*} is missing, though the package ${one#*:} is installed"
    done
}

has() {
    case $1 in
        python3-venv) python3 -c 'import ensurepip' 2>/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

install_packages() {
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        fail "missing: $*; install them (on Debian: sudo apt-get install $*), or run this as root on Debian"
    fi
    echo "installing the Debian packages $*"
    # A server's package starts the server, but for this run level.
    { apt-get update --quiet=2 && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
        apt-get install --quiet=2 --yes --no-install-recommends "$@"; } >"$tools/apt.log" 2>&1 ||
        { cat "$tools/apt.log"; fail "the Debian packages $* could not be installed"; }
}

need_python() {
    need python3 python3-venv
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "python3 is $(python3 --version), not 3.10 or newer"
}

need_node() {
    need node:nodejs npm
    node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 18) ? 0 : 1)' ||
        fail "node is $(node --version), not 20.18 or newer"
}

python_env() {
    local env=$tools/$1 requirements=$2
    if ! cmp --silent "$requirements" "$env/installed"; then
        rm -rf "$env"
        python3 -m venv "$env"
        "$env/bin/python" -m pip install --quiet --require-hashes --requirement "$requirements"
        cp "$requirements" "$env/installed"
    fi
}

node_tests() {
    (cd "$1" && npm ci --no-audit --no-fund --loglevel=error && npm test)
}

fail() {
    echo "error: $1" >&2
    exit 1
}
