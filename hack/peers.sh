# Programs of other projects that only tests run, built from the Go module proxy; sourced by lib.sh.
# Each set is a module file with `tool` lines in e2e/peers and has a cache directory of its own, named by what its go.sum
# and go.mod pin: a change of one set rebuilds that set.

peers_go() {
    command -v go >/dev/null || PATH="$PATH:/usr/local/go/bin"
    command -v go >/dev/null ||
        die "the tests' peers need Go 1.26 or newer (Debian 12's is older): see https://go.dev/doc/install"
}

# build_peers SET NAME [OPTION...]: the tools of e2e/peers/SET in the cache directory NAME-<hash>, which is printed;
# options are for `go build`.
build_peers() {
    local set=$1 name=$2 module="$repository/e2e/peers/$1" key directory
    shift 2
    # The options are part of what was built, and so is a main package of ours.
    key=$({ find "$module" -name 'go.*' -o -name '*.go' | sort | xargs cat; printf '%s\n' "$@"; } | sha256sum | cut -c1-16)
    directory="${XDG_CACHE_HOME:-$HOME/.cache}/ambient/$name-$key"
    if [ ! -d "$directory" ]; then
        peers_go
        mkdir -p "${directory%/*}"
        say "building the peers of the set $set into $directory (once)"
        (build_peers_fresh "$set" "$directory" "$@") || die "the peers of the set $set cannot be built"
    fi
    printf '%s\n' "$directory"
}

# In a subshell of its own: an interrupted run leaves nothing half-made, because the directory is moved in one step, and
# what was made so far is removed.
build_peers_fresh() {
    local set=$1 directory=$2 began=$SECONDS fresh ticker
    shift 2
    fresh=$(mktemp -d "$directory.XXXXXX") || return
    peers_ticker "$set" >&2 </dev/null &
    ticker=$!
    # Written out now: when the subshell ends, this function's variables are gone.
    # shellcheck disable=SC2064
    trap "rm -rf '$fresh'; kill $ticker 2>/dev/null" EXIT
    cd "$repository/e2e/peers/$set" || return
    CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off \
        go build -buildvcs=false -trimpath -ldflags '-s -w' -o "$fresh/" "$@" tool >&2 || return
    chmod 755 "$fresh"
    # Another run may have been faster.
    mv -T "$fresh" "$directory" 2>/dev/null || [ -d "$directory" ] || return
    say "built the peers of the set $set: $((SECONDS - began)) s"
}

# Says twice a minute that a build goes on, as long as this script runs.
peers_ticker() {
    local began=$SECONDS said=0 past
    while sleep 1 && kill -0 $$ 2>/dev/null; do
        past=$((SECONDS - began))
        [ $((past / 30)) = $said ] || say "still building the peers of the set $1: $past s"
        said=$((past / 30))
    done
}

# cnitool and the reference plugins, for the runtime tests.
build_cni_peers() { build_peers cnitool cni-peers; }

kubernetes_version=1.34.2

# build_cluster_peers [SET...]: what a cluster is made of; prints the directories of the sets, with colons between them.
build_cluster_peers() {
    local set directory version all=
    [ $# != 0 ] || set -- misc containerd istio kubernetes
    for set in "$@"; do
        case "$set" in
        kubernetes)
            # Without a version, admission and kubectl complain.
            version=k8s.io/component-base/version
            version="-X $version.gitVersion=v$kubernetes_version -X $version.gitMajor=1 -X $version.gitMinor=${kubernetes_version:2:2}"
            directory=$(build_peers kubernetes cluster-peers-kubernetes -ldflags "-s -w $version")
            ;;
        containerd)
            directory=$(build_peers containerd cluster-peers-containerd -tags no_btrfs,no_devmapper,no_zfs,no_aufs)
            ;;
        *) directory=$(build_peers "$set" "cluster-peers-$set") ;;
        esac
        all="$all${all:+:}$directory"
    done
    printf '%s\n' "$all"
}
