#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Boots a machine for a document: this machine's Debian below a layer in memory, in namespaces of its own.
# In a mount namespace of its own (`unshare --mount`); all it mounts goes with it.
#   machine.sh DIRECTORY UNIQUE_NAME NAME PROGRAMS WORKSPACE MACHINE...
set -euo pipefail
directory=$1 unique=$2 name=$3 programs=$4 workspace=$5
shift 5

mkdir -p "$(dirname "$directory")/world"
mount -t tmpfs -o mode=755 tmpfs "$directory"
mkdir "$directory"/{upper,work,root}
root=$directory/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/work" "$root"
# What nspawn keeps on the host is in this namespace only.
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=700 tmpfs /run/systemd/nspawn

# Nothing of this machine's own services is in the way.
rm -rf "$root"/opt/rudder "$root"/var/rudder "$root"/var/log/journal "$root"/srv \
    "$root"/etc/postgresql/* "$root"/var/lib/postgresql/*
mkdir -p "$root/srv" "$root/opt/rudder"
tr -d - < /proc/sys/kernel/random/uuid > "$root/etc/machine-id"
echo "$name.example.com" > "$root/etc/hostname"
{
    echo "127.0.0.1 localhost"
    echo "::1 localhost"
    number=0
    for machine in "$@"; do
        number=$((number + 1))
        echo "192.0.2.$number $machine.example.com $machine"
        echo "2001:db8::$number $machine.example.com $machine"
    done
} > "$root/etc/hosts"
cat > "$root/etc/systemd/system/document.target" <<'END'
[Unit]
Requires=systemd-journald.service
After=systemd-journald.service
AllowIsolate=yes
END

# systemd has a tree of control groups to itself.
own() { sed -n "s/^[0-9]*:$1://p" /proc/self/cgroup; }
for tree in "/sys/fs/cgroup/systemd$(own name=systemd)" "/sys/fs/cgroup/unified$(own '')" "/sys/fs/cgroup$(own '')"; do
    if [ -e "$tree/cgroup.procs" ]; then
        mkdir -p "$tree/$unique"
        echo $$ > "$tree/$unique/cgroup.procs"
    fi
done

exec systemd-nspawn --quiet --directory="$root" --machine="$unique" --hostname="$name.example.com" \
    --boot --register=no --keep-unit --private-network --console=pipe --resolv-conf=off --timezone=off \
    --bind-ro="$programs:/usr/src/programs" --bind-ro="$workspace:/usr/src/relayd" --bind="$(dirname "$directory")/world:/world" \
    -- --unit=document.target
