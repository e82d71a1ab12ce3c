# SPDX-License-Identifier: Apache-2.0
# What the packages install, and PostgreSQL on `root`. Runs once on each machine before its document.
install -d -m 0755 /opt/rudder/etc/ssl /opt/rudder/etc/relayd /var/rudder
chmod 0711 /root # so that `sudo -u postgres` does not complain

units=/usr/src/relayd/packaging/systemd
if [ -e $units/rudder-relayd.service ]; then
    cp $units/*.service $units/*.socket /etc/systemd/system/
else
    cat > /etc/systemd/system/rudder-relayd.service <<'END'
[Service]
ExecStart=/usr/sbin/relayd
ExecReload=kill -HUP $MAINPID
[Install]
Alias=relayd.service
WantedBy=multi-user.target
END
    cat > /etc/systemd/system/relayd-agent.service <<'END'
[Service]
ExecStart=/usr/bin/agent daemon
[Install]
WantedBy=multi-user.target
END
fi
systemctl daemon-reload

if [ "$(hostname)" = root.example.com ]; then
    version=$(ls /usr/lib/postgresql | sort -n | tail -n 1)
    pg_createcluster "$version" main -- --no-sync --no-instructions --auth-local=peer --auth-host=scram-sha-256 >/dev/null
    echo 'fsync = off' >> "/etc/postgresql/$version/main/postgresql.conf"
    systemctl start "postgresql@$version-main"
fi
