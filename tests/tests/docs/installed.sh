# SPDX-License-Identifier: Apache-2.0
# What the packages install, and PostgreSQL on `root`. Runs once on each machine before its document.
chmod 0711 /root # so that `sudo -u postgres` does not complain
case $(hostname) in
    node* | web*) packages=relayd-agent ;;
    *) packages="relayd relayd-agent" ;;
esac
for package in $packages; do
    /usr/src/relayd/packaging/stage $package /usr/src/programs /
done
# The same without a copy in memory for each machine.
ln -sf /usr/src/programs/relayd /opt/rudder/bin/rudder-relayd
ln -sf /usr/src/programs/agent /opt/rudder/bin/relayd-agent
[ ! -e /usr/lib/sysusers.d/relayd.conf ] || systemd-sysusers relayd.conf
for package in $packages; do
    systemd-tmpfiles --create $package.conf
done
systemctl daemon-reload

if [ "$(hostname)" = root.example.com ]; then
    version=$(ls /usr/lib/postgresql | sort -n | tail -n 1)
    pg_createcluster "$version" main -- --no-sync --no-instructions --auth-local=peer --auth-host=scram-sha-256 >/dev/null
    echo 'fsync = off' >> "/etc/postgresql/$version/main/postgresql.conf"
    systemctl start "postgresql@$version-main"
fi
