# The first process of a machine: makes its file system, then holds its namespaces and reaps.
# Arguments: cluster's directory, machine's name, peers' directories (with colons between them).
set -euo pipefail
cluster=$1 name=$2 peers=$3

# Nothing that is mounted here shows up outside.
mount --make-rprivate /
printf '%s' "$name" >/proc/sys/kernel/hostname

# Directories that are the machine's own, built in a corner first; they go with the namespace.
fresh="$cluster/$name/fresh"
mkdir -p "$fresh"
mount -t tmpfs -o mode=755 machine "$fresh"
cd "$fresh"
mkdir -p run/lock run/netns opt/peers opt/cni/bin var/lib tmp home etc/over etc/work
mkdir -p "run/${cluster#/run/}"
chmod 1777 tmp
# The same path inside as outside, so that files can name each other.
mount --bind "$cluster" "run/${cluster#/run/}"
if [[ $peers == *:* ]]; then
    mount -t overlay -o "ro,lowerdir=$peers" peers opt/peers
else
    mount --bind "$peers" opt/peers
fi
# A CNI directory cannot be mounted over one that is not there: all of /etc is ours, above what there was.
mount -t overlay -o "lowerdir=/etc,upperdir=$fresh/etc/over,workdir=$fresh/etc/work" etc /etc
mkdir -p /etc/cni/net.d
rm -f /etc/resolv.conf
printf 'options ndots:5\n' >/etc/resolv.conf
mount --bind "$cluster/$name/log" /var/log
mount --rbind opt /opt
mount --rbind var/lib /var/lib
mount --rbind tmp /tmp
mount --bind home /root
mount --rbind run /run
cd /
# As systemd does on a real machine: pods ask for propagation.
mount --make-rshared /

ip link set lo up
printf 1 >/proc/sys/net/ipv4/ip_forward
printf ready >"$cluster/$name/ready"

# `wait` reaps whatever has become ours.
while :; do
    sleep infinity &
    wait
done
