# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_agent_global_optspecs
    string join \n root= h/help V/version
end

function __fish_agent_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_agent_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_agent_using_subcommand
    set -l cmd (__fish_agent_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c agent -n "__fish_agent_needs_command" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_needs_command" -s h -l help -d 'Print help'
complete -c agent -n "__fish_agent_needs_command" -s V -l version -d 'Print version'
complete -c agent -n "__fish_agent_needs_command" -f -a "init" -d 'Make this node\'s id, key and certificate, where missing, and print its id and pin'
complete -c agent -n "__fish_agent_needs_command" -f -a "enroll" -d 'Ask to be taken in: make this node\'s id and key where missing, send a certificate request to the policy server, and go on asking until it is decided'
complete -c agent -n "__fish_agent_needs_command" -f -a "run" -d 'Run the policies once: show what they did and leave the signed run log in the outbox'
complete -c agent -n "__fish_agent_needs_command" -f -a "send" -d 'Send the run logs that wait in the outbox, oldest first'
complete -c agent -n "__fish_agent_needs_command" -f -a "resend" -d 'Send run logs again that the policy server had taken: what it lacks after it came back from a backup'
complete -c agent -n "__fish_agent_needs_command" -f -a "inventory" -d 'Make an inventory of this machine, sign it, and bring it to the policy server'
complete -c agent -n "__fish_agent_needs_command" -f -a "share" -d 'Send files to other nodes and fetch those sent to this one, through the policy servers'
complete -c agent -n "__fish_agent_needs_command" -f -a "daemon" -d 'Run the policies and send run logs on schedule, until told to stop'
complete -c agent -n "__fish_agent_needs_command" -f -a "update" -d 'Fetch the policies from the policy server, if they have changed, and put them to use'
complete -c agent -n "__fish_agent_needs_command" -f -a "status" -d 'Show who this node is, what waits in its outbox, and how the last run and upload went'
complete -c agent -n "__fish_agent_needs_command" -f -a "key" -d 'Change this node\'s key'
complete -c agent -n "__fish_agent_needs_command" -f -a "cert" -d 'Show, renew and export this node\'s certificates'
complete -c agent -n "__fish_agent_needs_command" -f -a "trust" -d 'Show or change how the policy server is known, and who may sign policies'
complete -c agent -n "__fish_agent_needs_command" -f -a "triggers" -d 'Ask the policy server which runs it wants, and make them: the configured policy command, told the conditions of each'
complete -c agent -n "__fish_agent_needs_command" -f -a "upkeep" -d 'Do what keeps this node\'s identity in order and is due: end a change of keys, ask about an enrolment, renew the certificate of the root\'s authority, repeat exports'
complete -c agent -n "__fish_agent_needs_command" -f -a "config" -d 'Show or check the settings'
complete -c agent -n "__fish_agent_needs_command" -f -a "completions" -d 'Print what a shell needs to complete the command line'
complete -c agent -n "__fish_agent_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c agent -n "__fish_agent_using_subcommand init" -l key -d 'Kind of key to make when there is none' -r -f -a "rsa4096\t'RSA, 4096 bits: every server accepts it'
p256\t'ECDSA on P-256: smaller and faster; relayd accepts it'"
complete -c agent -n "__fish_agent_using_subcommand init" -l node-id -d 'Id of this node; a random UUID when it has none' -r
complete -c agent -n "__fish_agent_using_subcommand init" -l server -d 'Policy server, as HOST or HOST:PORT; written to agent.conf' -r
complete -c agent -n "__fish_agent_using_subcommand init" -l pin -d 'Pin of the policy server\'s key, several separated by `;`' -r
complete -c agent -n "__fish_agent_using_subcommand init" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand enroll" -l server -d 'Policy server, as HOST or HOST:PORT; written to agent.conf' -r
complete -c agent -n "__fish_agent_using_subcommand enroll" -l pin -d 'Pin of the policy server\'s key, several separated by `;`. Replaces what was pinned' -r
complete -c agent -n "__fish_agent_using_subcommand enroll" -l token -d 'One-time token. Better: --token-file' -r
complete -c agent -n "__fish_agent_using_subcommand enroll" -l token-file -d 'File with the one-time token; `-` for standard input' -r -F
complete -c agent -n "__fish_agent_using_subcommand enroll" -l hostname -d 'Name of this machine, to which tokens are bound' -r
complete -c agent -n "__fish_agent_using_subcommand enroll" -l node-id -d 'Id of this node; a random UUID when it has none' -r
complete -c agent -n "__fish_agent_using_subcommand enroll" -l key -d 'Kind of key to make when there is none' -r -f -a "rsa4096\t'RSA, 4096 bits: every server accepts it'
p256\t'ECDSA on P-256: smaller and faster; relayd accepts it'"
complete -c agent -n "__fish_agent_using_subcommand enroll" -l wait -d 'How long to wait for the decision, such as 10m; by default for ever' -r
complete -c agent -n "__fish_agent_using_subcommand enroll" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand enroll" -l as-relay -d 'Ask to be a relay; an operator must accept that, token or not'
complete -c agent -n "__fish_agent_using_subcommand enroll" -l no-wait -d 'Ask once only'
complete -c agent -n "__fish_agent_using_subcommand enroll" -l json -d 'Print the result as JSON'
complete -c agent -n "__fish_agent_using_subcommand enroll" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand run" -l condition -d 'Tell the policies this: letters, digits and `_`. May be given more than once. The command gets `-D NAME` for each (setting `condition_argument`), and AGENT_CONDITIONS' -r
complete -c agent -n "__fish_agent_using_subcommand run" -l color -d 'When to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Never'"
complete -c agent -n "__fish_agent_using_subcommand run" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand run" -l send -d 'Then send what waits in the outbox'
complete -c agent -n "__fish_agent_using_subcommand run" -l no-update -d 'Run the policies that are there, without asking for others'
complete -c agent -n "__fish_agent_using_subcommand run" -l json -d 'Print the result as JSON'
complete -c agent -n "__fish_agent_using_subcommand run" -l quiet -d 'Print one line only'
complete -c agent -n "__fish_agent_using_subcommand run" -l strict -d 'Exit with status 4 when a component is in error or not compliant'
complete -c agent -n "__fish_agent_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand send" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand send" -l now -d 'Do not wait, even if the server asked for it (Retry-After)'
complete -c agent -n "__fish_agent_using_subcommand send" -l json -d 'Print the result as JSON'
complete -c agent -n "__fish_agent_using_subcommand send" -l quiet -d 'Print nothing when there was nothing to send'
complete -c agent -n "__fish_agent_using_subcommand send" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand resend" -l since -d 'From when on: a time ago, or a moment. An hour more is added for clocks and relays' -r
complete -c agent -n "__fish_agent_using_subcommand resend" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand resend" -l now -d 'Do not wait, even if the server asked for it (Retry-After)'
complete -c agent -n "__fish_agent_using_subcommand resend" -l json -d 'Print the result as JSON'
complete -c agent -n "__fish_agent_using_subcommand resend" -l quiet -d 'Print nothing when there was nothing to send'
complete -c agent -n "__fish_agent_using_subcommand resend" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand inventory" -l output -d 'Write the inventory and its signature into this directory, and send nothing' -r -F
complete -c agent -n "__fish_agent_using_subcommand inventory" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand inventory" -l print -d 'Print the inventory, and send nothing'
complete -c agent -n "__fish_agent_using_subcommand inventory" -l due -d 'Only if one is due'
complete -c agent -n "__fish_agent_using_subcommand inventory" -l json -d 'Print the result as JSON'
complete -c agent -n "__fish_agent_using_subcommand inventory" -l quiet -d 'Print nothing; what goes wrong is logged'
complete -c agent -n "__fish_agent_using_subcommand inventory" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand share; and not __fish_seen_subcommand_from put list get folder-get help" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand share; and not __fish_seen_subcommand_from put list get folder-get help" -s h -l help -d 'Print help'
complete -c agent -n "__fish_agent_using_subcommand share; and not __fish_seen_subcommand_from put list get folder-get help" -f -a "put" -d 'Sign a file with this node\'s key and send it to another node'
complete -c agent -n "__fish_agent_using_subcommand share; and not __fish_seen_subcommand_from put list get folder-get help" -f -a "list" -d 'List the files that other nodes sent to this one'
complete -c agent -n "__fish_agent_using_subcommand share; and not __fish_seen_subcommand_from put list get folder-get help" -f -a "get" -d 'Fetch a file that another node sent to this one'
complete -c agent -n "__fish_agent_using_subcommand share; and not __fish_seen_subcommand_from put list get folder-get help" -f -a "folder-get" -d 'Fetch a file from the shared folder of the policy server'
complete -c agent -n "__fish_agent_using_subcommand share; and not __fish_seen_subcommand_from put list get folder-get help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from put" -l id -d 'What the receiver asks for; the name of the file without this. Letters, digits, `_`, `.` and `-`' -r
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from put" -l ttl -d 'How long it is kept: seconds, or as in `1d 2h 30min`' -r
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from put" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from put" -l json -d 'Print the result as JSON'
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from put" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from list" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from list" -l json -d 'Print the list as JSON'
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from get" -s o -l output -d 'Where to put it; a file that is there is replaced. Mode 0600' -r -F
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from get" -l sender-key -d 'Key that the sender must have, as `relayd node show` prints it' -r
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from get" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from get" -l json -d 'Print the result as JSON'
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from folder-get" -s o -l output -d 'Where to put it; a file that is there is replaced. Mode 0600' -r -F
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from folder-get" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from folder-get" -l json -d 'Print the result as JSON'
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from folder-get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from help" -f -a "put" -d 'Sign a file with this node\'s key and send it to another node'
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the files that other nodes sent to this one'
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from help" -f -a "get" -d 'Fetch a file that another node sent to this one'
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from help" -f -a "folder-get" -d 'Fetch a file from the shared folder of the policy server'
complete -c agent -n "__fish_agent_using_subcommand share; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c agent -n "__fish_agent_using_subcommand daemon" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand daemon" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand update" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand update" -l check -d 'Only say whether there is something new: nothing is changed'
complete -c agent -n "__fish_agent_using_subcommand update" -l force -d 'Compare each file, and try again what did not pass'
complete -c agent -n "__fish_agent_using_subcommand update" -l json -d 'Print the result as JSON'
complete -c agent -n "__fish_agent_using_subcommand update" -l quiet -d 'Print nothing when nothing changed'
complete -c agent -n "__fish_agent_using_subcommand update" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand status" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand status" -l json -d 'Print as JSON'
complete -c agent -n "__fish_agent_using_subcommand status" -s h -l help -d 'Print help'
complete -c agent -n "__fish_agent_using_subcommand key; and not __fish_seen_subcommand_from roll help" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand key; and not __fish_seen_subcommand_from roll help" -s h -l help -d 'Print help'
complete -c agent -n "__fish_agent_using_subcommand key; and not __fish_seen_subcommand_from roll help" -f -a "roll" -d 'Take a new key into use, signed with the old one'
complete -c agent -n "__fish_agent_using_subcommand key; and not __fish_seen_subcommand_from roll help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c agent -n "__fish_agent_using_subcommand key; and __fish_seen_subcommand_from roll" -l key -d 'Kind of the new key' -r -f -a "rsa4096\t'RSA, 4096 bits: every server accepts it'
p256\t'ECDSA on P-256: smaller and faster; relayd accepts it'"
complete -c agent -n "__fish_agent_using_subcommand key; and __fish_seen_subcommand_from roll" -l wait -d 'How long to wait until the policy server knows the new key' -r
complete -c agent -n "__fish_agent_using_subcommand key; and __fish_seen_subcommand_from roll" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand key; and __fish_seen_subcommand_from roll" -l also-server -d 'This machine is a relay, and nodes that pin its key are cared for (`relayd server-key`)'
complete -c agent -n "__fish_agent_using_subcommand key; and __fish_seen_subcommand_from roll" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "roll" -d 'Take a new key into use, signed with the old one'
complete -c agent -n "__fish_agent_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c agent -n "__fish_agent_using_subcommand cert; and not __fish_seen_subcommand_from show renew export help" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand cert; and not __fish_seen_subcommand_from show renew export help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand cert; and not __fish_seen_subcommand_from show renew export help" -f -a "show" -d 'Show this node\'s certificates and what is exported'
complete -c agent -n "__fish_agent_using_subcommand cert; and not __fish_seen_subcommand_from show renew export help" -f -a "renew" -d 'Get a new certificate of the root\'s authority now'
complete -c agent -n "__fish_agent_using_subcommand cert; and not __fish_seen_subcommand_from show renew export help" -f -a "export" -d 'Copy certificate, key and authority for another program, now and after each renewal'
complete -c agent -n "__fish_agent_using_subcommand cert; and not __fish_seen_subcommand_from show renew export help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from show" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from show" -l json -d 'Print as JSON'
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from renew" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from renew" -s h -l help -d 'Print help'
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from export" -l cert -d 'Where the certificate goes' -r -F
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from export" -l key -d 'Where the private key goes' -r -F
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from export" -l ca -d 'Where the certificate of the authority goes' -r -F
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from export" -l owner -d 'Owner of the files, by name or number' -r
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from export" -l group -d 'Group of the files, by name or number' -r
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from export" -l mode -d 'Mode of the key, octal; never for everybody' -r
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from export" -l hook -d 'Program and arguments to run after each change. Arguments that start with `-` need `--hook=-x`' -r
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from export" -l forget -d 'Do not export to this file, and those with it, any more' -r -F
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from export" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from export" -l list -d 'List what is exported'
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show this node\'s certificates and what is exported'
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from help" -f -a "renew" -d 'Get a new certificate of the root\'s authority now'
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from help" -f -a "export" -d 'Copy certificate, key and authority for another program, now and after each renewal'
complete -c agent -n "__fish_agent_using_subcommand cert; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c agent -n "__fish_agent_using_subcommand trust; and not __fish_seen_subcommand_from show pin reset policy-key help" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand trust; and not __fish_seen_subcommand_from show pin reset policy-key help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand trust; and not __fish_seen_subcommand_from show pin reset policy-key help" -f -a "show" -d 'Show the keys that the policy server may have, where they come from, and those that may sign policies'
complete -c agent -n "__fish_agent_using_subcommand trust; and not __fish_seen_subcommand_from show pin reset policy-key help" -f -a "pin" -d 'Trust these keys and no others; also instead of those of the policies, until the policies change'
complete -c agent -n "__fish_agent_using_subcommand trust; and not __fish_seen_subcommand_from show pin reset policy-key help" -f -a "reset" -d 'Forget all pins but those of the policies: the next server that is met is trusted'
complete -c agent -n "__fish_agent_using_subcommand trust; and not __fish_seen_subcommand_from show pin reset policy-key help" -f -a "policy-key" -d 'Take only policies that are signed by one of these keys: no server on the way can alter them then'
complete -c agent -n "__fish_agent_using_subcommand trust; and not __fish_seen_subcommand_from show pin reset policy-key help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c agent -n "__fish_agent_using_subcommand trust; and __fish_seen_subcommand_from show" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand trust; and __fish_seen_subcommand_from show" -l json -d 'Print as JSON'
complete -c agent -n "__fish_agent_using_subcommand trust; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c agent -n "__fish_agent_using_subcommand trust; and __fish_seen_subcommand_from pin" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand trust; and __fish_seen_subcommand_from pin" -s h -l help -d 'Print help'
complete -c agent -n "__fish_agent_using_subcommand trust; and __fish_seen_subcommand_from reset" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand trust; and __fish_seen_subcommand_from reset" -s h -l help -d 'Print help'
complete -c agent -n "__fish_agent_using_subcommand trust; and __fish_seen_subcommand_from policy-key" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand trust; and __fish_seen_subcommand_from policy-key" -l forget -d 'Forget them all'
complete -c agent -n "__fish_agent_using_subcommand trust; and __fish_seen_subcommand_from policy-key" -s h -l help -d 'Print help'
complete -c agent -n "__fish_agent_using_subcommand trust; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show the keys that the policy server may have, where they come from, and those that may sign policies'
complete -c agent -n "__fish_agent_using_subcommand trust; and __fish_seen_subcommand_from help" -f -a "pin" -d 'Trust these keys and no others; also instead of those of the policies, until the policies change'
complete -c agent -n "__fish_agent_using_subcommand trust; and __fish_seen_subcommand_from help" -f -a "reset" -d 'Forget all pins but those of the policies: the next server that is met is trusted'
complete -c agent -n "__fish_agent_using_subcommand trust; and __fish_seen_subcommand_from help" -f -a "policy-key" -d 'Take only policies that are signed by one of these keys: no server on the way can alter them then'
complete -c agent -n "__fish_agent_using_subcommand trust; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c agent -n "__fish_agent_using_subcommand triggers" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand triggers" -l noted -d 'Do not ask: make the runs that were noted before, and not made'
complete -c agent -n "__fish_agent_using_subcommand triggers" -l quiet -d 'Print nothing when there was nothing to do'
complete -c agent -n "__fish_agent_using_subcommand triggers" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand upkeep" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand upkeep" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c agent -n "__fish_agent_using_subcommand config; and not __fish_seen_subcommand_from default reference check help" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand config; and not __fish_seen_subcommand_from default reference check help" -s h -l help -d 'Print help'
complete -c agent -n "__fish_agent_using_subcommand config; and not __fish_seen_subcommand_from default reference check help" -f -a "default" -d 'Print a relayd-agent.conf with every setting explained and commented out'
complete -c agent -n "__fish_agent_using_subcommand config; and not __fish_seen_subcommand_from default reference check help" -f -a "reference" -d 'Print all settings with default and meaning, in Markdown'
complete -c agent -n "__fish_agent_using_subcommand config; and not __fish_seen_subcommand_from default reference check help" -f -a "check" -d 'Check all settings files, and name every mistake with its line and remedy'
complete -c agent -n "__fish_agent_using_subcommand config; and not __fish_seen_subcommand_from default reference check help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c agent -n "__fish_agent_using_subcommand config; and __fish_seen_subcommand_from default" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand config; and __fish_seen_subcommand_from default" -s h -l help -d 'Print help'
complete -c agent -n "__fish_agent_using_subcommand config; and __fish_seen_subcommand_from reference" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand config; and __fish_seen_subcommand_from reference" -s h -l help -d 'Print help'
complete -c agent -n "__fish_agent_using_subcommand config; and __fish_seen_subcommand_from check" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c agent -n "__fish_agent_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "default" -d 'Print a relayd-agent.conf with every setting explained and commented out'
complete -c agent -n "__fish_agent_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "reference" -d 'Print all settings with default and meaning, in Markdown'
complete -c agent -n "__fish_agent_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "check" -d 'Check all settings files, and name every mistake with its line and remedy'
complete -c agent -n "__fish_agent_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c agent -n "__fish_agent_using_subcommand completions" -l root -d 'Directory all default paths are below' -r -F
complete -c agent -n "__fish_agent_using_subcommand completions" -s h -l help -d 'Print help'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "init" -d 'Make this node\'s id, key and certificate, where missing, and print its id and pin'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "enroll" -d 'Ask to be taken in: make this node\'s id and key where missing, send a certificate request to the policy server, and go on asking until it is decided'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "run" -d 'Run the policies once: show what they did and leave the signed run log in the outbox'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "send" -d 'Send the run logs that wait in the outbox, oldest first'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "resend" -d 'Send run logs again that the policy server had taken: what it lacks after it came back from a backup'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "inventory" -d 'Make an inventory of this machine, sign it, and bring it to the policy server'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "share" -d 'Send files to other nodes and fetch those sent to this one, through the policy servers'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "daemon" -d 'Run the policies and send run logs on schedule, until told to stop'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "update" -d 'Fetch the policies from the policy server, if they have changed, and put them to use'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "status" -d 'Show who this node is, what waits in its outbox, and how the last run and upload went'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "key" -d 'Change this node\'s key'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "cert" -d 'Show, renew and export this node\'s certificates'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "trust" -d 'Show or change how the policy server is known, and who may sign policies'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "triggers" -d 'Ask the policy server which runs it wants, and make them: the configured policy command, told the conditions of each'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "upkeep" -d 'Do what keeps this node\'s identity in order and is due: end a change of keys, ask about an enrolment, renew the certificate of the root\'s authority, repeat exports'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "config" -d 'Show or check the settings'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "completions" -d 'Print what a shell needs to complete the command line'
complete -c agent -n "__fish_agent_using_subcommand help; and not __fish_seen_subcommand_from init enroll run send resend inventory share daemon update status key cert trust triggers upkeep config completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c agent -n "__fish_agent_using_subcommand help; and __fish_seen_subcommand_from share" -f -a "put" -d 'Sign a file with this node\'s key and send it to another node'
complete -c agent -n "__fish_agent_using_subcommand help; and __fish_seen_subcommand_from share" -f -a "list" -d 'List the files that other nodes sent to this one'
complete -c agent -n "__fish_agent_using_subcommand help; and __fish_seen_subcommand_from share" -f -a "get" -d 'Fetch a file that another node sent to this one'
complete -c agent -n "__fish_agent_using_subcommand help; and __fish_seen_subcommand_from share" -f -a "folder-get" -d 'Fetch a file from the shared folder of the policy server'
complete -c agent -n "__fish_agent_using_subcommand help; and __fish_seen_subcommand_from key" -f -a "roll" -d 'Take a new key into use, signed with the old one'
complete -c agent -n "__fish_agent_using_subcommand help; and __fish_seen_subcommand_from cert" -f -a "show" -d 'Show this node\'s certificates and what is exported'
complete -c agent -n "__fish_agent_using_subcommand help; and __fish_seen_subcommand_from cert" -f -a "renew" -d 'Get a new certificate of the root\'s authority now'
complete -c agent -n "__fish_agent_using_subcommand help; and __fish_seen_subcommand_from cert" -f -a "export" -d 'Copy certificate, key and authority for another program, now and after each renewal'
complete -c agent -n "__fish_agent_using_subcommand help; and __fish_seen_subcommand_from trust" -f -a "show" -d 'Show the keys that the policy server may have, where they come from, and those that may sign policies'
complete -c agent -n "__fish_agent_using_subcommand help; and __fish_seen_subcommand_from trust" -f -a "pin" -d 'Trust these keys and no others; also instead of those of the policies, until the policies change'
complete -c agent -n "__fish_agent_using_subcommand help; and __fish_seen_subcommand_from trust" -f -a "reset" -d 'Forget all pins but those of the policies: the next server that is met is trusted'
complete -c agent -n "__fish_agent_using_subcommand help; and __fish_seen_subcommand_from trust" -f -a "policy-key" -d 'Take only policies that are signed by one of these keys: no server on the way can alter them then'
complete -c agent -n "__fish_agent_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "default" -d 'Print a relayd-agent.conf with every setting explained and commented out'
complete -c agent -n "__fish_agent_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "reference" -d 'Print all settings with default and meaning, in Markdown'
complete -c agent -n "__fish_agent_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "check" -d 'Check all settings files, and name every mistake with its line and remedy'
