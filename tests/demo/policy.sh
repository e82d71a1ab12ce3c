#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A small real policy for `make demo`: checks this machine and repairs a directory of its own ($1).
# Says what it finds in the form of reports (protocol 3.2); what it prints besides that is attached
# to the next report. The agent gives AGENT_NODE_ID, AGENT_RUN_START and AGENT_CONFIG_ID.
set -u
place=$1

RULE=4f0b2c1e-7d5a-4a53-9a51-6a1f7c2d9b01
report() { # technique, event type, directive, component, key value, message
    printf 'R: @@%s@@%s@@%s@@%s@@0@@%s@@%s@@%s##%s@#%s\n' \
        "$1" "$2" "$RULE" "$3" "$4" "$5" "$AGENT_RUN_START" "$AGENT_NODE_ID" "$6"
}
files() { report fileManagement "$1" 4f0b2c1e-7d5a-4a53-9a51-000000000001 "$2" "$3" "$4"; }
audit() { report systemAudit "$1" 4f0b2c1e-7d5a-4a53-9a51-000000000002 "$2" "$3" "$4"; }
service() { report webService "$1" 4f0b2c1e-7d5a-4a53-9a51-000000000003 "$2" "$3" "$4"; }

# A directory
if [ -d "$place" ]; then
    files result_success Directory "$place" 'The directory is there'
elif mkdir -p "$place"; then
    files result_repaired Directory "$place" 'The directory was made'
else
    files result_error Directory "$place" 'The directory cannot be made'
fi

# A file with known content
wanted='listen = 127.0.0.1:8080'
if [ "$(cat "$place/web.conf" 2>/dev/null)" = "$wanted" ]; then
    files result_success 'File content' "$place/web.conf" 'The content is as wanted'
else
    echo "R: [INFO] web.conf is missing or was changed by somebody, writing it again"
    if printf '%s\n' "$wanted" > "$place/web.conf"; then
        files result_repaired 'File content' "$place/web.conf" 'The content was written'
    else
        files result_error 'File content' "$place/web.conf" 'The content cannot be written'
    fi
fi

# Its mode
mode=$(stat -c %a "$place/web.conf" 2>/dev/null)
if [ "$mode" = 640 ]; then
    files result_success 'File mode' "$place/web.conf" 'The mode is 640'
elif chmod 640 "$place/web.conf"; then
    files result_repaired 'File mode' "$place/web.conf" "The mode was $mode and is 640 now"
else
    files result_error 'File mode' "$place/web.conf" 'The mode cannot be set'
fi

# This machine, only looked at
free=$(df -Pk "$place" | awk 'NR == 2 { print $4 }')
if [ "${free:-0}" -gt 10240 ]; then
    audit audit_compliant 'Free disk space' "$place" 'There are more than 10 MiB'
else
    audit audit_noncompliant 'Free disk space' "$place" "There are only $free kB"
fi
audit audit_compliant 'Kernel' "$(uname -s)" "Release $(uname -r) is supported"
audit audit_na 'Swap encryption' none 'There is no swap to encrypt'

# Fails on purpose: there is no such certificate
echo "R: [INFO] reading the certificate of the web service"
echo "R: [ERROR] $place/web.pem: No such file or directory"
service result_error 'Certificate' "$place/web.pem" 'The certificate of the web service cannot be read'
