#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# An agent that is nothing but curl, openssl and gzip, with cf-agent for the policies: what the protocol says of
# existing agents, and no line of ours. All its files are below the directory that is the first argument.
#
#   agent.sh DIR init ID BITS                 key and certificate
#   agent.sh DIR run                          policies, a signed run log in the outbox; prints its name
#   agent.sh DIR send                         the outbox to the policy server
#   agent.sh DIR inventory                    an inventory and its signature; prints the name
#   agent.sh DIR fetch PATH FILE              policies or the common library; prints the status
#   agent.sh DIR folder PATH FILE             a file of the shared folder; prints the status
#   agent.sh DIR share TARGET FILE TTL        a file for another node; prints the status
set -eu
root=$1 command=$2
shift 2

node_id=$root/opt/rudder/etc/uuid.hive
cert=$root/opt/rudder/etc/ssl/agent.cert
keys=$root/var/rudder/cfengine-community/ppkeys
inputs=$root/var/rudder/cfengine-community/inputs
ready=$root/var/rudder/reports/ready
tmp=$root/var/rudder/tmp

setting() { sed -n "s/^ *\"$1\" : \"\(.*\)\",*$/\1/p" "$inputs/rudder.json"; }

# Protocol 1.5 and 2.3: the server is known by its key.
request() {
    curl --silent --show-error --globoff --location --tlsv1.3 --connect-timeout 10 --insecure \
        --pinnedpubkey "$(setting POLICY_SERVER_KEY_HASH)" "$@"
}
server() { printf 'https://%s:%s' "$(cat "$root/var/rudder/cfengine-community/policy_server.dat")" \
    "$(setting HTTPS_POLICY_DISTRIBUTION_PORT)"; }
put() { request --fail --output "$tmp/answer" --user "$1" --upload-file "$2" "$(server)/$3/$(basename "$2")"; }
as_node() { request --cert "$cert" --key "$keys/localhost.priv" --output "$1" --write-out '%{http_code}\n' "$2"; }

init() {
    mkdir -p "$root/opt/rudder/etc/ssl" "$inputs" "$keys" "$ready" "$tmp/reports" "$root/var/rudder/cfengine/bin"
    chmod 700 "$keys"
    echo "$1" >"$node_id"
    openssl genrsa -traditional -out "$keys/localhost.priv" "$2" 2>/dev/null
    chmod 600 "$keys/localhost.priv"
    openssl rsa -in "$keys/localhost.priv" -RSAPublicKey_out -out "$keys/localhost.pub" 2>/dev/null
    openssl req -new -x509 -sha256 -days 3650 -key "$keys/localhost.priv" -subj "/UID=$1" -utf8 -out "$cert" \
        -addext 'keyUsage=digitalSignature,keyEncipherment,dataEncipherment,keyAgreement,keyCertSign'
    ln -s "$(command -v cf-promises)" "$root/var/rudder/cfengine/bin/cf-promises"
}

stamped() { while IFS= read -r line; do printf '%s %s\n' "$(date -u '+%Y-%m-%dT%H:%M:%S+00:00')" "$line"; done; }

# A second that no other run, or inventory, of this node has: names are made of it, and with the usual intervals
# that goes without saying.
second_for() {
    while now=$(date -u '+%Y-%m-%dT%H:%M:%S+00:00') && [ "$now" = "$(cat "$tmp/last-$1" 2>/dev/null)" ]; do
        sleep 0.1
    done
    echo "$now" | tee "$tmp/last-$1"
}

run() {
    start=$(second_for run)
    name=$start@$(cat "$node_id")
    export NODE_ID="$(cat "$node_id")" CONFIG_ID="$(setting RUDDER_NODE_CONFIG_ID)" PLACE="$root"
    export RUN_START="$(echo "$start" | tr T ' ')" CFENGINE_TEST_OVERRIDE_WORKDIR="$root/var/rudder/cfengine"
    log=$tmp/reports/$name.log
    cf-agent -K -I -f "$inputs/promises.cf" 2>&1 | stamped >"$log"
    openssl smime -sign -text -nocerts -md sha256 -signer "$cert" -inkey "$keys/localhost.priv" -in "$log" \
        -out "$log.signed"
    gzip "$log.signed"
    mv "$log.signed.gz" "$ready/$name.log.gz"
    echo "$name.log.gz"
}

send() {
    # At most 50 in a run; what does not go now goes next time.
    find "$ready" -name '*.log.gz' | head -50 | while IFS= read -r file; do
        if put "$(setting DAVUSER):$(setting DAVPASSWORD)" "$file" reports; then rm "$file"; fi
    done
}

signature() { openssl dgst -sha512 -sign "$keys/localhost.priv" "$1" | od -An -v -tx1 | tr -d ' \n'; }
modulus() { openssl rsa -in "$keys/localhost.priv" -noout -modulus; }
key_lines() {
    printf 'hostname=%s\nkeydate=%s\n' "$(cat "$node_id").example.com" "$(date -u '+%Y-%m-%d %H:%M:%S.%N +0000')"
    printf 'keyid=%s\n' "$(modulus | tail -c 9)"
}

inventory() {
    id=$(cat "$node_id")
    policy_server=$(request --fail "$(server)/uuid")
    name=${id}_$(second_for inventory).ocs
    cat >"$tmp/$name" <<XML
<?xml version="1.0" encoding="UTF-8" ?>
<REQUEST><CONTENT><ACCESSLOG><LOGDATE>$(date -u '+%Y-%m-%d %H:%M:%S')</LOGDATE></ACCESSLOG>
<OPERATINGSYSTEM><ARCH>x86_64</ARCH><FQDN>$id.example.com</FQDN><KERNEL_NAME>linux</KERNEL_NAME>
<KERNEL_VERSION>$(uname -r)</KERNEL_VERSION><NAME>Debian</NAME></OPERATINGSYSTEM>
<RUDDER><AGENT><AGENT_CERT>$(cat "$cert")</AGENT_CERT><AGENT_NAME>cfengine-community</AGENT_NAME><OWNER>root</OWNER>
<POLICY_SERVER_HOSTNAME>127.0.0.1</POLICY_SERVER_HOSTNAME><POLICY_SERVER_UUID>$policy_server</POLICY_SERVER_UUID>
</AGENT><AGENT_VERSION>9.0.0</AGENT_VERSION><HOSTNAME>$id.example.com</HOSTNAME><UUID>$id</UUID></RUDDER>
</CONTENT><DEVICEID>$id</DEVICEID><QUERY>INVENTORY</QUERY></REQUEST>
XML
    {
        printf 'header=rudder-signature-v1\nalgorithm=sha512\ndigest=%s\n' "$(signature "$tmp/$name")"
        key_lines
    } >"$tmp/$name.sign"
    gzip --keep "$tmp/$name"
    if grep -q '"INITIAL" : true' "$inputs/rudder.json"; then kind=inventories; else kind=inventory-updates; fi
    for file in "$tmp/$name.gz" "$tmp/$name.sign"; do
        put "$(setting DAVUSER):$(setting DAVPASSWORD)" "$file" "$kind"
    done
    echo "$name"
}

fetch() {
    touch "$2.etag"
    request --cert "$cert" --key "$keys/localhost.priv" --etag-compare "$2.etag" --etag-save "$2.etag" \
        --output "$2" --write-out '%{http_code}\n' "$(server)/$1"
}

folder() {
    url=$(server)/rudder/relay-api/shared-folder/$1
    hash=$(openssl dgst -sha256 -r "$2" 2>/dev/null | cut -d' ' -f1)
    status=$(request --cert "$cert" --key "$keys/localhost.priv" --head --output "$tmp/head" --write-out '%{http_code}' \
        "$url?hash=$hash&hash_type=sha256")
    if [ "$status" = 200 ]; then as_node "$2" "$url"; else echo "$status"; fi
}

share() {
    hash=$(openssl dgst -sha512 -r "$2" | cut -d' ' -f1)
    url=$(server)/rudder/relay-api/shared-files/$1/$(cat "$node_id")/$(basename "$2")
    status=$(request --head --output "$tmp/head" --write-out '%{http_code}' "$url?hash=$hash")
    if [ "$status" != 404 ]; then echo "$status" && return; fi
    {
        printf 'header=rudder-signature-v1\nalgorithm=sha512\ndigest=%s\nhash_value=%s\n' "$(signature "$2")" "$hash"
        printf 'short_pubkey=%s\n' "$(sed '/-----/d' "$keys/localhost.pub" | tr -d '\n')"
        key_lines
        echo
        cat "$2"
    } >"$tmp/shared"
    request --header 'Content-Type: application/octet-stream' --output "$tmp/body" --write-out '%{http_code}\n' \
        --upload-file "$tmp/shared" "$url?ttl=$3"
}

"$command" "$@"
