# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_relayd_global_optspecs
    string join \n c/config= t/test h/help V/version
end

function __fish_relayd_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_relayd_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_relayd_using_subcommand
    set -l cmd (__fish_relayd_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c relayd -n "__fish_relayd_needs_command" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_needs_command" -s t -l test -l check -d 'Check the configuration and exit'
complete -c relayd -n "__fish_relayd_needs_command" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_needs_command" -s V -l version -d 'Print version'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "status" -d 'Say how the running daemon is: role, uplink, database, spools, rates, nodes, certificates, disk'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "why" -d 'Say why a run log of a node is missing or old'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "doctor" -d 'Check the installation, and say what to do: files, ports, certificates, time, database, limits, disk'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "run-log" -d 'Look into run logs'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "spool" -d 'Look into the spools: what waits, what failed and why'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "run" -d 'Have nodes run their agent now, and print what they say'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "nodes" -d 'Say how nodes are: whether they answer, and what their last runs said'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "runs" -d 'List the complete runs that are stored, the newest first, or show one'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "compliance" -d 'Say how the fleet is, now or at any instant, as a whole or by parts; what is wrong; what changed'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "inventory" -d 'Look at what nodes say of themselves: hardware, network, packages, and how that changed'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "packages" -d 'Say which nodes have a package, by what their newest inventories list'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "vulnerabilities" -d 'Say which packages of the fleet fall under advisories that you provide: what is vulnerable or outdated'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "reload" -d 'Have the running daemon read again what can change while it runs: logging.conf, node list and certificates'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "node" -d 'Say which nodes there are, and which of them belong to the instance'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "token" -d 'Make one-time tokens that let nodes in'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "policy" -d 'Publish policies for nodes, signed, and go back'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "routes" -d 'Print which routes there are and who may use them'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "ca" -d 'Look after the built-in certification authority'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "server-key" -d 'Change the key by which nodes know this server, without losing one'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "database" -d 'Look after the tables of the reports database'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "config" -d 'Print defaults, reference and effective settings; check the configuration'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "completions" -d 'Print what a shell needs to complete the command line'
complete -c relayd -n "__fish_relayd_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand status" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand status" -l json -d 'Print one JSON object: state, problems, and what the daemon says'
complete -c relayd -n "__fish_relayd_using_subcommand status" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand why" -l wait -d 'How long to wait for daemon, database and uplink, all at a time, such as 500ms or 5s' -r
complete -c relayd -n "__fish_relayd_using_subcommand why" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand why" -l all -d 'Print what every check found, also where all is well'
complete -c relayd -n "__fish_relayd_using_subcommand why" -l json -d 'Print one JSON object'
complete -c relayd -n "__fish_relayd_using_subcommand why" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand doctor" -l user -d 'The user that the daemon runs as' -r
complete -c relayd -n "__fish_relayd_using_subcommand doctor" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand doctor" -l json -d 'Print one JSON object'
complete -c relayd -n "__fish_relayd_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand run-log; and not __fish_seen_subcommand_from show help" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand run-log; and not __fish_seen_subcommand_from show help" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand run-log; and not __fish_seen_subcommand_from show help" -f -a "show" -d 'Unpack, verify (with --cert), parse and print run logs'
complete -c relayd -n "__fish_relayd_using_subcommand run-log; and not __fish_seen_subcommand_from show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand run-log; and __fish_seen_subcommand_from show" -l cert -d 'Certificates of the node, PEM: the signature must be by one of them. Without, signatures are not looked at' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand run-log; and __fish_seen_subcommand_from show" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand run-log; and __fish_seen_subcommand_from show" -l json -d 'Print JSON, one document per file'
complete -c relayd -n "__fish_relayd_using_subcommand run-log; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand run-log; and __fish_seen_subcommand_from help" -f -a "show" -d 'Unpack, verify (with --cert), parse and print run logs'
complete -c relayd -n "__fish_relayd_using_subcommand run-log; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and not __fish_seen_subcommand_from list show retry drop help" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand spool; and not __fish_seen_subcommand_from list show retry drop help" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and not __fish_seen_subcommand_from list show retry drop help" -f -a "list" -d 'List the files that wait and those that failed'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and not __fish_seen_subcommand_from list show retry drop help" -f -a "show" -d 'Show one file: where it is, its size and age, and why it failed'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and not __fish_seen_subcommand_from list show retry drop help" -f -a "retry" -d 'Put failed files back, to be delivered again'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and not __fish_seen_subcommand_from list show retry drop help" -f -a "drop" -d 'Delete failed files for good'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and not __fish_seen_subcommand_from list show retry drop help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from list" -l spool -d 'Only this spool' -r -f -a "reports\t'Run logs'
inventories\t'Inventories of new nodes'
inventory-updates\t'Inventories of accepted nodes'"
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from list" -l node -d 'Only files of this node' -r
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from list" -l reason -d 'Only files that failed for this reason' -r -f -a "bad_name\t''
not_a_file\t''
too_large\t''
bad_compression\t''
unknown_node\t''
no_certificate\t''
bad_signature\t''
bad_content\t''
conflict\t''
database_refused\t''
upstream_refused\t''
unreadable\t''"
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from list" -l older-than -d 'Only files not modified for this long, such as 90s, 2h or 7d' -r
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from list" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from list" -l failed -d 'Only files that failed'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from list" -l queued -d 'Only files that wait'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from show" -l spool -d 'Only this spool' -r -f -a "reports\t'Run logs'
inventories\t'Inventories of new nodes'
inventory-updates\t'Inventories of accepted nodes'"
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from show" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from retry" -l spool -d 'Only this spool' -r -f -a "reports\t'Run logs'
inventories\t'Inventories of new nodes'
inventory-updates\t'Inventories of accepted nodes'"
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from retry" -l node -d 'Only files of this node' -r
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from retry" -l reason -d 'Only files that failed for this reason' -r -f -a "bad_name\t''
not_a_file\t''
too_large\t''
bad_compression\t''
unknown_node\t''
no_certificate\t''
bad_signature\t''
bad_content\t''
conflict\t''
database_refused\t''
upstream_refused\t''
unreadable\t''"
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from retry" -l older-than -d 'Only files not modified for this long, such as 90s, 2h or 7d' -r
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from retry" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from retry" -l all -d 'All failed files'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from retry" -l failed -d 'Only files that failed'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from retry" -l queued -d 'Only files that wait'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from retry" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from drop" -l spool -d 'Only this spool' -r -f -a "reports\t'Run logs'
inventories\t'Inventories of new nodes'
inventory-updates\t'Inventories of accepted nodes'"
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from drop" -l node -d 'Only files of this node' -r
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from drop" -l reason -d 'Only files that failed for this reason' -r -f -a "bad_name\t''
not_a_file\t''
too_large\t''
bad_compression\t''
unknown_node\t''
no_certificate\t''
bad_signature\t''
bad_content\t''
conflict\t''
database_refused\t''
upstream_refused\t''
unreadable\t''"
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from drop" -l older-than -d 'Only files not modified for this long, such as 90s, 2h or 7d' -r
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from drop" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from drop" -l all -d 'All failed files'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from drop" -l failed -d 'Only files that failed'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from drop" -l queued -d 'Only files that wait'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from drop" -s y -l yes -d 'Do not ask'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from drop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the files that wait and those that failed'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show one file: where it is, its size and age, and why it failed'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "retry" -d 'Put failed files back, to be delivered again'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "drop" -d 'Delete failed files for good'
complete -c relayd -n "__fish_relayd_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand run" -l behind -d 'With --all: only nodes below this relay' -r
complete -c relayd -n "__fish_relayd_using_subcommand run" -s D -l condition -d 'A condition that the runs are told; may be repeated, or several with commas between' -r
complete -c relayd -n "__fish_relayd_using_subcommand run" -l expires -d 'How long nodes that are not there are waited for, such as 5m; remote_run.expiry without this' -r
complete -c relayd -n "__fish_relayd_using_subcommand run" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand run" -l all -d 'All nodes below this server, at any depth'
complete -c relayd -n "__fish_relayd_using_subcommand run" -l no-output -d 'Do not pass on what the runs write'
complete -c relayd -n "__fish_relayd_using_subcommand run" -l json -d 'Print the events as they come, one JSON object per line, and nothing else'
complete -c relayd -n "__fish_relayd_using_subcommand run" -l asynchronous -d 'Do not wait for the end'
complete -c relayd -n "__fish_relayd_using_subcommand run" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand nodes; and not __fish_seen_subcommand_from show help" -l name -d 'Those whose host name is like this; * stands for any text, ? for one character' -r
complete -c relayd -n "__fish_relayd_using_subcommand nodes; and not __fish_seen_subcommand_from show help" -l status -d 'Those that are like this' -r -f -a "compliant\t'Its last run is fresh, and all its results are as they should be'
failing\t'Its last run is fresh, and some results are not as they should be'
no_answer\t'Its last run is too old, or there is none'"
complete -c relayd -n "__fish_relayd_using_subcommand nodes; and not __fish_seen_subcommand_from show help" -l state -d 'Those in this state of the registry' -r
complete -c relayd -n "__fish_relayd_using_subcommand nodes; and not __fish_seen_subcommand_from show help" -l relay -d 'Those that connect to this server' -r
complete -c relayd -n "__fish_relayd_using_subcommand nodes; and not __fish_seen_subcommand_from show help" -l limit -d 'Print at most so many' -r
complete -c relayd -n "__fish_relayd_using_subcommand nodes; and not __fish_seen_subcommand_from show help" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand nodes; and not __fish_seen_subcommand_from show help" -l json -d 'Print one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand nodes; and not __fish_seen_subcommand_from show help" -l csv -d 'Print CSV, with a line of column names first'
complete -c relayd -n "__fish_relayd_using_subcommand nodes; and not __fish_seen_subcommand_from show help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand nodes; and not __fish_seen_subcommand_from show help" -f -a "show" -d 'Show how a node is: by rule, and its last runs'
complete -c relayd -n "__fish_relayd_using_subcommand nodes; and not __fish_seen_subcommand_from show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand nodes; and __fish_seen_subcommand_from show" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand nodes; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c relayd -n "__fish_relayd_using_subcommand nodes; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand nodes; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show how a node is: by rule, and its last runs'
complete -c relayd -n "__fish_relayd_using_subcommand nodes; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand runs; and not __fish_seen_subcommand_from show help" -l node -d 'Of this node only: an id, the first 8 or more characters of one, or a host name' -r
complete -c relayd -n "__fish_relayd_using_subcommand runs; and not __fish_seen_subcommand_from show help" -l from -d 'Only those that began then or later' -r
complete -c relayd -n "__fish_relayd_using_subcommand runs; and not __fish_seen_subcommand_from show help" -l to -d 'Only those that began before' -r
complete -c relayd -n "__fish_relayd_using_subcommand runs; and not __fish_seen_subcommand_from show help" -l limit -d 'Print at most so many' -r
complete -c relayd -n "__fish_relayd_using_subcommand runs; and not __fish_seen_subcommand_from show help" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand runs; and not __fish_seen_subcommand_from show help" -l json -d 'Print one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand runs; and not __fish_seen_subcommand_from show help" -l csv -d 'Print CSV, with a line of column names first'
complete -c relayd -n "__fish_relayd_using_subcommand runs; and not __fish_seen_subcommand_from show help" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand runs; and not __fish_seen_subcommand_from show help" -f -a "show" -d 'Show a run: its reports, each with the log lines attached to it'
complete -c relayd -n "__fish_relayd_using_subcommand runs; and not __fish_seen_subcommand_from show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand runs; and __fish_seen_subcommand_from show" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand runs; and __fish_seen_subcommand_from show" -l text -d 'Print a line for each report and log line, as run logs have them'
complete -c relayd -n "__fish_relayd_using_subcommand runs; and __fish_seen_subcommand_from show" -l json -d 'Print one JSON object: the run, with all reports'
complete -c relayd -n "__fish_relayd_using_subcommand runs; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand runs; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show a run: its reports, each with the log lines attached to it'
complete -c relayd -n "__fish_relayd_using_subcommand runs; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -l node -d 'On this node only: an id, the first 8 or more characters of one, or a host name' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -l rule -d 'Of this rule only' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -l directive -d 'Of this directive only' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -l policy -d 'Of this technique only' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -l component -d 'Of components that are called like this; * stands for any text, ? for one character' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -l at -d 'At this instant; now if absent' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -l by -d 'List parts' -r -f -a "node\t'Nodes'
rule\t'Rules'
directive\t'Directives'
component\t'Components'"
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -l status -d 'List only what has such results; needs --by' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -l limit -d 'Print at most so many' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -l json -d 'Print one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -l csv -d 'Print CSV, with a line of column names first'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -f -a "rebuild" -d 'Make state and history anew from the runs that are stored'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -f -a "failing" -d 'List what is wrong, with what the reports say of it and the log lines attached to them'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -f -a "changes" -d 'List what is other than it was'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -f -a "timeline" -d 'Say how a node was over time, and what changed each time'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and not __fish_seen_subcommand_from rebuild failing changes timeline help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from rebuild" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from rebuild" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from failing" -l node -d 'On this node only: an id, the first 8 or more characters of one, or a host name' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from failing" -l rule -d 'Of this rule only' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from failing" -l directive -d 'Of this directive only' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from failing" -l policy -d 'Of this technique only' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from failing" -l component -d 'Of components that are called like this; * stands for any text, ? for one character' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from failing" -l at -d 'At this instant; now if absent' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from failing" -l status -d 'Other results than those that are wrong' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from failing" -l limit -d 'Print at most so many' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from failing" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from failing" -l json -d 'Print one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from failing" -l csv -d 'Print CSV, with a line of column names first'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from failing" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from changes" -l from -d 'The earlier instant' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from changes" -l to -d 'The later instant; now if absent' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from changes" -l by -d 'What changes are put together by' -r -f -a "node\t'Each change on each node'
component\t'The same change on all nodes, the most frequent first'"
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from changes" -l node -d 'On this node only: an id, the first 8 or more characters of one, or a host name' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from changes" -l rule -d 'Of this rule only' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from changes" -l directive -d 'Of this directive only' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from changes" -l policy -d 'Of this technique only' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from changes" -l component -d 'Of components that are called like this; * stands for any text, ? for one character' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from changes" -l limit -d 'Print at most so many' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from changes" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from changes" -l json -d 'Print one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from changes" -l csv -d 'Print CSV, with a line of column names first'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from changes" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from timeline" -l from -d 'Only what ended then or later' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from timeline" -l to -d 'Only what began then or earlier' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from timeline" -l limit -d 'Print at most so many' -r
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from timeline" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from timeline" -l json -d 'Print one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from timeline" -l csv -d 'Print CSV, with a line of column names first'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from timeline" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from help" -f -a "rebuild" -d 'Make state and history anew from the runs that are stored'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from help" -f -a "failing" -d 'List what is wrong, with what the reports say of it and the log lines attached to them'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from help" -f -a "changes" -d 'List what is other than it was'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from help" -f -a "timeline" -d 'Say how a node was over time, and what changed each time'
complete -c relayd -n "__fish_relayd_using_subcommand compliance; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and not __fish_seen_subcommand_from list show changes export help" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and not __fish_seen_subcommand_from list show changes export help" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and not __fish_seen_subcommand_from list show changes export help" -f -a "list" -d 'List the newest inventory of each node, in short'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and not __fish_seen_subcommand_from list show changes export help" -f -a "show" -d 'Show what a node says of itself'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and not __fish_seen_subcommand_from list show changes export help" -f -a "changes" -d 'Say how a node changed: packages and facts, the last change first'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and not __fish_seen_subcommand_from list show changes export help" -f -a "export" -d 'Print facts of all nodes for other programs, one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and not __fish_seen_subcommand_from list show changes export help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from list" -l name -d 'Those whose host name is like this; * stands for any text, ? for one character' -r
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from list" -l os -d 'Those whose operating system is called like this, in words' -r
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from list" -l limit -d 'Print at most so many' -r
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from list" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from list" -l csv -d 'Print CSV, with a line of column names first'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from show" -l section -d 'Only these sections, separated by commas' -r
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from show" -l at -d 'As it was then: a date, a day, or how long ago such as 12h' -r
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from show" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from changes" -l limit -d 'Print at most so many changes' -r
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from changes" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from changes" -l json -d 'Print one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from changes" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from export" -l name -d 'Those whose host name is like this; * stands for any text, ? for one character' -r
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from export" -l os -d 'Those whose operating system is called like this, in words' -r
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from export" -l section -d 'Only these sections, separated by commas' -r
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from export" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the newest inventory of each node, in short'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show what a node says of itself'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from help" -f -a "changes" -d 'Say how a node changed: packages and facts, the last change first'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from help" -f -a "export" -d 'Print facts of all nodes for other programs, one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand inventory; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand packages" -l version -d 'A condition on the version, such as \'<1.2\'; may be given several times, all must hold' -r
complete -c relayd -n "__fish_relayd_using_subcommand packages" -l by -d 'Print a line for each package on each node, or one for each version' -r -f -a "node\t'Each package on each node'
version\t'Each version of a package'"
complete -c relayd -n "__fish_relayd_using_subcommand packages" -l node -d 'On this node only: an id, the first 8 or more characters of one, or a host name' -r
complete -c relayd -n "__fish_relayd_using_subcommand packages" -l arch -d 'Of this architecture only' -r
complete -c relayd -n "__fish_relayd_using_subcommand packages" -l limit -d 'Print at most so many' -r
complete -c relayd -n "__fish_relayd_using_subcommand packages" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand packages" -l json -d 'Print one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand packages" -l csv -d 'Print CSV, with a line of column names first'
complete -c relayd -n "__fish_relayd_using_subcommand packages" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand vulnerabilities" -l by -d 'Print a line for each of these; a finding is a package with an advisory on a node' -r -f -a "advisory\t'Each advisory'
node\t'Each node'
package\t'Each version of a package'
finding\t'Each package with each advisory on each node'"
complete -c relayd -n "__fish_relayd_using_subcommand vulnerabilities" -l severity -d 'Those as bad as this, or worse: critical, high, medium, low or unknown' -r
complete -c relayd -n "__fish_relayd_using_subcommand vulnerabilities" -l node -d 'On this node only: an id, the first 8 or more characters of one, or a host name' -r
complete -c relayd -n "__fish_relayd_using_subcommand vulnerabilities" -l advisory -d 'Of this advisory only; also by another name of it' -r
complete -c relayd -n "__fish_relayd_using_subcommand vulnerabilities" -l package -d 'Of packages that are called like this; * stands for any text, ? for one character' -r
complete -c relayd -n "__fish_relayd_using_subcommand vulnerabilities" -l fixed -d 'Those that a newer version mends (true), or those that none does (false)' -r -f -a "true\t''
false\t''"
complete -c relayd -n "__fish_relayd_using_subcommand vulnerabilities" -l advisories -d 'Use these advisories instead, a file or a directory' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand vulnerabilities" -l limit -d 'Print at most so many' -r
complete -c relayd -n "__fish_relayd_using_subcommand vulnerabilities" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand vulnerabilities" -l json -d 'Print one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand vulnerabilities" -l csv -d 'Print CSV, with a line of column names first'
complete -c relayd -n "__fish_relayd_using_subcommand vulnerabilities" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand reload" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand reload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand node; and not __fish_seen_subcommand_from list show accept reject revoke delete move resolve help" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand node; and not __fish_seen_subcommand_from list show accept reject revoke delete move resolve help" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand node; and not __fish_seen_subcommand_from list show accept reject revoke delete move resolve help" -f -a "list" -d 'List nodes, with state, last contact and the fingerprint of their key'
complete -c relayd -n "__fish_relayd_using_subcommand node; and not __fish_seen_subcommand_from list show accept reject revoke delete move resolve help" -f -a "show" -d 'Show all that is known of a node: keys, certificates, conflicts'
complete -c relayd -n "__fish_relayd_using_subcommand node; and not __fish_seen_subcommand_from list show accept reject revoke delete move resolve help" -f -a "accept" -d 'Let nodes into the instance: those that wait, or that were rejected or revoked before'
complete -c relayd -n "__fish_relayd_using_subcommand node; and not __fish_seen_subcommand_from list show accept reject revoke delete move resolve help" -f -a "reject" -d 'Decide against nodes that wait'
complete -c relayd -n "__fish_relayd_using_subcommand node; and not __fish_seen_subcommand_from list show accept reject revoke delete move resolve help" -f -a "revoke" -d 'Take accepted nodes out of the instance at once; their open connections are closed'
complete -c relayd -n "__fish_relayd_using_subcommand node; and not __fish_seen_subcommand_from list show accept reject revoke delete move resolve help" -f -a "delete" -d 'Forget nodes: their ids and keys are free again'
complete -c relayd -n "__fish_relayd_using_subcommand node; and not __fish_seen_subcommand_from list show accept reject revoke delete move resolve help" -f -a "move" -d 'Hang nodes below another relay, or below root'
complete -c relayd -n "__fish_relayd_using_subcommand node; and not __fish_seen_subcommand_from list show accept reject revoke delete move resolve help" -f -a "resolve" -d 'Say that the conflicts of nodes are settled'
complete -c relayd -n "__fish_relayd_using_subcommand node; and not __fish_seen_subcommand_from list show accept reject revoke delete move resolve help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from list" -l state -d 'Only nodes in this state; may be repeated' -r -f -a "pending\t'Waits for a decision'
accepted\t'Belongs to the instance'
rejected\t'Was not taken in'
revoked\t'Was taken out'"
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from list" -l below -d 'Only nodes at any depth below this server' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from list" -l name -d 'Only nodes with a host name like this; * is any text, ? one character' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from list" -l silent-for -d 'Only nodes that were not heard of for this long, such as 2h or 7d' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from list" -l relay -d 'Only nodes that connect to this server' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from list" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from list" -l conflicts -d 'Only nodes with conflicts that nobody has resolved'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from show" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from accept" -l state -d 'Only nodes in this state; may be repeated' -r -f -a "pending\t'Waits for a decision'
accepted\t'Belongs to the instance'
rejected\t'Was not taken in'
revoked\t'Was taken out'"
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from accept" -l below -d 'Only nodes at any depth below this server' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from accept" -l name -d 'Only nodes with a host name like this; * is any text, ? one character' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from accept" -l silent-for -d 'Only nodes that were not heard of for this long, such as 2h or 7d' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from accept" -l fingerprint -d 'Only if the node has this key' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from accept" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from accept" -l conflicts -d 'Only nodes with conflicts that nobody has resolved'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from accept" -s y -l yes -d 'Do not ask when filters choose'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from accept" -l all-pending -d 'All that wait for a decision'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from accept" -l relay -d 'As a relay, to which other nodes connect; needed for nodes that ask for it'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from accept" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from reject" -l state -d 'Only nodes in this state; may be repeated' -r -f -a "pending\t'Waits for a decision'
accepted\t'Belongs to the instance'
rejected\t'Was not taken in'
revoked\t'Was taken out'"
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from reject" -l below -d 'Only nodes at any depth below this server' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from reject" -l name -d 'Only nodes with a host name like this; * is any text, ? one character' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from reject" -l silent-for -d 'Only nodes that were not heard of for this long, such as 2h or 7d' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from reject" -l relay -d 'Only nodes that connect to this server' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from reject" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from reject" -l conflicts -d 'Only nodes with conflicts that nobody has resolved'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from reject" -s y -l yes -d 'Do not ask when filters choose'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from reject" -l all-pending -d 'All that wait for a decision'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from reject" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from revoke" -l state -d 'Only nodes in this state; may be repeated' -r -f -a "pending\t'Waits for a decision'
accepted\t'Belongs to the instance'
rejected\t'Was not taken in'
revoked\t'Was taken out'"
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from revoke" -l below -d 'Only nodes at any depth below this server' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from revoke" -l name -d 'Only nodes with a host name like this; * is any text, ? one character' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from revoke" -l silent-for -d 'Only nodes that were not heard of for this long, such as 2h or 7d' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from revoke" -l relay -d 'Only nodes that connect to this server' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from revoke" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from revoke" -l conflicts -d 'Only nodes with conflicts that nobody has resolved'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from revoke" -s y -l yes -d 'Do not ask when filters choose'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from delete" -l state -d 'Only nodes in this state; may be repeated' -r -f -a "pending\t'Waits for a decision'
accepted\t'Belongs to the instance'
rejected\t'Was not taken in'
revoked\t'Was taken out'"
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from delete" -l below -d 'Only nodes at any depth below this server' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from delete" -l name -d 'Only nodes with a host name like this; * is any text, ? one character' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from delete" -l silent-for -d 'Only nodes that were not heard of for this long, such as 2h or 7d' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from delete" -l relay -d 'Only nodes that connect to this server' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from delete" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from delete" -l conflicts -d 'Only nodes with conflicts that nobody has resolved'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from delete" -s y -l yes -d 'Do not ask when filters choose'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from delete" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from move" -l state -d 'Only nodes in this state; may be repeated' -r -f -a "pending\t'Waits for a decision'
accepted\t'Belongs to the instance'
rejected\t'Was not taken in'
revoked\t'Was taken out'"
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from move" -l below -d 'Only nodes at any depth below this server' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from move" -l name -d 'Only nodes with a host name like this; * is any text, ? one character' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from move" -l silent-for -d 'Only nodes that were not heard of for this long, such as 2h or 7d' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from move" -l relay -d 'Only nodes that connect to this server' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from move" -l to -d 'The new server: an accepted relay, or root' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from move" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from move" -l conflicts -d 'Only nodes with conflicts that nobody has resolved'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from move" -s y -l yes -d 'Do not ask when filters choose'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from move" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from resolve" -l state -d 'Only nodes in this state; may be repeated' -r -f -a "pending\t'Waits for a decision'
accepted\t'Belongs to the instance'
rejected\t'Was not taken in'
revoked\t'Was taken out'"
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from resolve" -l below -d 'Only nodes at any depth below this server' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from resolve" -l name -d 'Only nodes with a host name like this; * is any text, ? one character' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from resolve" -l silent-for -d 'Only nodes that were not heard of for this long, such as 2h or 7d' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from resolve" -l relay -d 'Only nodes that connect to this server' -r
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from resolve" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from resolve" -l conflicts -d 'Only nodes with conflicts that nobody has resolved'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from resolve" -s y -l yes -d 'Do not ask when filters choose'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from resolve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "list" -d 'List nodes, with state, last contact and the fingerprint of their key'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show all that is known of a node: keys, certificates, conflicts'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "accept" -d 'Let nodes into the instance: those that wait, or that were rejected or revoked before'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "reject" -d 'Decide against nodes that wait'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "revoke" -d 'Take accepted nodes out of the instance at once; their open connections are closed'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "delete" -d 'Forget nodes: their ids and keys are free again'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "move" -d 'Hang nodes below another relay, or below root'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "resolve" -d 'Say that the conflicts of nodes are settled'
complete -c relayd -n "__fish_relayd_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -f -a "create" -d 'Make tokens. Each lets in one node, of this host name, once, until it expires'
complete -c relayd -n "__fish_relayd_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -f -a "list" -d 'List tokens: for whom, whether used and by which node. Their texts are not known any more'
complete -c relayd -n "__fish_relayd_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -f -a "revoke" -d 'Take tokens back before they are used'
complete -c relayd -n "__fish_relayd_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand token; and __fish_seen_subcommand_from create" -l host -d 'Host name of the node; {n} stands for a number that counts from 1' -r
complete -c relayd -n "__fish_relayd_using_subcommand token; and __fish_seen_subcommand_from create" -l expires -d 'How long it can be used' -r
complete -c relayd -n "__fish_relayd_using_subcommand token; and __fish_seen_subcommand_from create" -l count -d 'How many' -r
complete -c relayd -n "__fish_relayd_using_subcommand token; and __fish_seen_subcommand_from create" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand token; and __fish_seen_subcommand_from create" -l json -d 'Print one JSON object per line, with the token'
complete -c relayd -n "__fish_relayd_using_subcommand token; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand token; and __fish_seen_subcommand_from list" -l state -d 'Only tokens in this state; may be repeated' -r -f -a "usable\t'It can'
used\t'It was'
expired\t'Its time is over'
revoked\t'It was taken back'"
complete -c relayd -n "__fish_relayd_using_subcommand token; and __fish_seen_subcommand_from list" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand token; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand token; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand token; and __fish_seen_subcommand_from revoke" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand token; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "create" -d 'Make tokens. Each lets in one node, of this host name, once, until it expires'
complete -c relayd -n "__fish_relayd_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "list" -d 'List tokens: for whom, whether used and by which node. Their texts are not known any more'
complete -c relayd -n "__fish_relayd_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "revoke" -d 'Take tokens back before they are used'
complete -c relayd -n "__fish_relayd_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and not __fish_seen_subcommand_from key publish list diff activate rollback renew remove help" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand policy; and not __fish_seen_subcommand_from key publish list diff activate rollback renew remove help" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and not __fish_seen_subcommand_from key publish list diff activate rollback renew remove help" -f -a "key" -d 'Look after the key that signs policies'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and not __fish_seen_subcommand_from key publish list diff activate rollback renew remove help" -f -a "publish" -d 'Sign a directory as the next version of the policies of nodes. It is served after `activate`'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and not __fish_seen_subcommand_from key publish list diff activate rollback renew remove help" -f -a "list" -d 'Say which versions there are of which nodes, and which one is served'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and not __fish_seen_subcommand_from key publish list diff activate rollback renew remove help" -f -a "diff" -d 'Say what differs between two versions of a node'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and not __fish_seen_subcommand_from key publish list diff activate rollback renew remove help" -f -a "activate" -d 'Serve a version that was published: the newest one, or the given one'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and not __fish_seen_subcommand_from key publish list diff activate rollback renew remove help" -f -a "rollback" -d 'Go back: sign the files of an older version as a new one, and serve it'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and not __fish_seen_subcommand_from key publish list diff activate rollback renew remove help" -f -a "renew" -d 'Sign what is served once more, so that it is valid for longer or under another key'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and not __fish_seen_subcommand_from key publish list diff activate rollback renew remove help" -f -a "remove" -d 'Forget all published policies of nodes: they get those of policies.directory again'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and not __fish_seen_subcommand_from key publish list diff activate rollback renew remove help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from key" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from key" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from key" -f -a "init" -d 'Make the key and its certificate. Never overwrites one'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from key" -f -a "next" -d 'Make the key that shall follow. Nodes must know it before it is used'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from key" -f -a "activate" -d 'Sign with the next key from now on. Sign what is served once more then: `relayd policy renew --all`'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from key" -f -a "export" -d 'Print the certificates that nodes shall pin: of the key in use and, if there is one, of the next'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from key" -f -a "show" -d 'Show which keys there are'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from key" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from publish" -l node -d 'This node: its id, the first 8 or more characters of it, or its host name; may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from publish" -l group -d 'The nodes of this group (a file in policies.groups); may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from publish" -l below -d 'The nodes at any depth below this relay; may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from publish" -l expires -d 'From when on nodes refuse it: a duration from now, a date, or `never`. By default policies.lifetime' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from publish" -l note -d 'A line about it, for `list`; the nodes can read it' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from publish" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from publish" -l all -d 'All nodes but the root'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from publish" -l activate -d 'Serve it at once'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from publish" -l if-changed -d 'Leave out nodes whose newest version has the same files already'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from publish" -l unknown -d 'Take ids given with --node that no node of the instance has (yet)'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from publish" -l json -d 'Print JSON'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from publish" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from list" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from diff" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from diff" -l names -d 'Only names, no lines'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from diff" -l json -d 'Print JSON, without lines'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from activate" -l node -d 'This node: its id, the first 8 or more characters of it, or its host name; may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from activate" -l group -d 'The nodes of this group (a file in policies.groups); may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from activate" -l below -d 'The nodes at any depth below this relay; may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from activate" -l version -d 'This version instead of the newest' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from activate" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from activate" -l all -d 'All nodes but the root'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from activate" -l json -d 'Print JSON'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from activate" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from rollback" -l node -d 'This node: its id, the first 8 or more characters of it, or its host name; may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from rollback" -l group -d 'The nodes of this group (a file in policies.groups); may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from rollback" -l below -d 'The nodes at any depth below this relay; may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from rollback" -l to -d 'The version whose files it shall be' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from rollback" -l expires -d 'From when on nodes refuse it: a duration from now, a date, or `never`. By default policies.lifetime' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from rollback" -l note -d 'A line about it, for `list`; the nodes can read it' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from rollback" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from rollback" -l all -d 'All nodes but the root'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from rollback" -l json -d 'Print JSON'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from rollback" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from renew" -l node -d 'This node: its id, the first 8 or more characters of it, or its host name; may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from renew" -l group -d 'The nodes of this group (a file in policies.groups); may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from renew" -l below -d 'The nodes at any depth below this relay; may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from renew" -l expires -d 'From when on nodes refuse it: a duration from now, a date, or `never`. By default policies.lifetime' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from renew" -l note -d 'A line about it, for `list`; the nodes can read it' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from renew" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from renew" -l all -d 'All nodes but the root'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from renew" -l json -d 'Print JSON'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from renew" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from remove" -l node -d 'This node: its id, the first 8 or more characters of it, or its host name; may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from remove" -l group -d 'The nodes of this group (a file in policies.groups); may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from remove" -l below -d 'The nodes at any depth below this relay; may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from remove" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from remove" -l all -d 'All nodes but the root'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from remove" -l json -d 'Print JSON'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "key" -d 'Look after the key that signs policies'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "publish" -d 'Sign a directory as the next version of the policies of nodes. It is served after `activate`'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "list" -d 'Say which versions there are of which nodes, and which one is served'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "diff" -d 'Say what differs between two versions of a node'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "activate" -d 'Serve a version that was published: the newest one, or the given one'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "rollback" -d 'Go back: sign the files of an older version as a new one, and serve it'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "renew" -d 'Sign what is served once more, so that it is valid for longer or under another key'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Forget all published policies of nodes: they get those of policies.directory again'
complete -c relayd -n "__fish_relayd_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand routes" -l openapi -d 'Print the OpenAPI 3.1 document of this listener instead' -r -f -a "gateway\t'`[gateway]`: HTTPS, for nodes and relays'
local\t'`general.listen`: loopback or a Unix socket, for operators'"
complete -c relayd -n "__fish_relayd_using_subcommand routes" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand routes" -l json -d 'Print one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand routes" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and not __fish_seen_subcommand_from init issue renew export show help" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand ca; and not __fish_seen_subcommand_from init issue renew export show help" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and not __fish_seen_subcommand_from init issue renew export show help" -f -a "init" -d 'Make the authority: its key and its certificate. Never overwrites one'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and not __fish_seen_subcommand_from init issue renew export show help" -f -a "issue" -d 'Issue a certificate for a service'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and not __fish_seen_subcommand_from init issue renew export show help" -f -a "renew" -d 'Make the certificate of the authority valid for longer. Key and name stay, and all that was issued'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and not __fish_seen_subcommand_from init issue renew export show help" -f -a "export" -d 'Print the certificate of the authority, PEM, for those who shall trust it'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and not __fish_seen_subcommand_from init issue renew export show help" -f -a "show" -d 'Say what authority there is and until when its certificate is valid'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and not __fish_seen_subcommand_from init issue renew export show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from init" -l name -d 'Common name of the authority. By default \\"relayd CA\\" and the name of this host' -r
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from init" -l key -d 'Which key it gets' -r -f -a "rsa4096\t'RSA, 4096 bits'
p256\t'ECDSA on P-256'"
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from init" -l days -d 'How many days its certificate is valid' -r
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from init" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from issue" -l host -d 'Host name that the service answers to' -r
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from issue" -l dns -d 'One more DNS name; may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from issue" -l ip -d 'One more address; may be repeated' -r
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from issue" -l csr -d 'Take the key from this certificate request (PKCS#10, PEM). Only the key: the names are those given here' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from issue" -l key-out -d 'Make a key and write it to this file, which must not be there yet' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from issue" -l key -d 'Which key is made' -r -f -a "rsa4096\t'RSA, 4096 bits'
p256\t'ECDSA on P-256'"
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from issue" -l out -d 'Where the certificate goes, then that of the authority, PEM. Replaced when it is there' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from issue" -l days -d 'How many days it is valid. By default as long as those of nodes (ca.node_certificate_lifetime)' -r
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from issue" -l node -d 'Make it name this node, for use as its identity towards servers that check certificates' -r
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from issue" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from issue" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from renew" -l days -d 'How many days from now it is valid' -r
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from renew" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from renew" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from export" -l out -d 'Write it to this file' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from export" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from show" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from help" -f -a "init" -d 'Make the authority: its key and its certificate. Never overwrites one'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from help" -f -a "issue" -d 'Issue a certificate for a service'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from help" -f -a "renew" -d 'Make the certificate of the authority valid for longer. Key and name stay, and all that was issued'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from help" -f -a "export" -d 'Print the certificate of the authority, PEM, for those who shall trust it'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from help" -f -a "show" -d 'Say what authority there is and until when its certificate is valid'
complete -c relayd -n "__fish_relayd_using_subcommand ca; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and not __fish_seen_subcommand_from next activate show cancel forget-chain help" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and not __fish_seen_subcommand_from next activate show cancel forget-chain help" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and not __fish_seen_subcommand_from next activate show cancel forget-chain help" -f -a "next" -d 'Make the next key and announce it: agents that come by from then on know it before it is used'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and not __fish_seen_subcommand_from next activate show cancel forget-chain help" -f -a "activate" -d 'Use the next key from the next reload on. Its predecessors vouch for it to whoever knows only them'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and not __fish_seen_subcommand_from next activate show cancel forget-chain help" -f -a "show" -d 'Show the current key, its predecessors and the next one'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and not __fish_seen_subcommand_from next activate show cancel forget-chain help" -f -a "cancel" -d 'Give the next key up. Agents that know it already do no harm by that'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and not __fish_seen_subcommand_from next activate show cancel forget-chain help" -f -a "forget-chain" -d 'Stop sending the predecessors of the current key. After the theft of one, do this at once'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and not __fish_seen_subcommand_from next activate show cancel forget-chain help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from next" -l key -d 'Which key to make' -r -f -a "rsa4096\t'RSA, 4096 bits'
p256\t'ECDSA on P-256'"
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from next" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from next" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from activate" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from activate" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from show" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from cancel" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from cancel" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from forget-chain" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from forget-chain" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from help" -f -a "next" -d 'Make the next key and announce it: agents that come by from then on know it before it is used'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from help" -f -a "activate" -d 'Use the next key from the next reload on. Its predecessors vouch for it to whoever knows only them'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show the current key, its predecessors and the next one'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from help" -f -a "cancel" -d 'Give the next key up. Agents that know it already do no harm by that'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from help" -f -a "forget-chain" -d 'Stop sending the predecessors of the current key. After the theft of one, do this at once'
complete -c relayd -n "__fish_relayd_using_subcommand server-key; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand database; and not __fish_seen_subcommand_from migrate maintain status help" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand database; and not __fish_seen_subcommand_from migrate maintain status help" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand database; and not __fish_seen_subcommand_from migrate maintain status help" -f -a "migrate" -d 'Makes the missing tables; tables that are there already are left as they are'
complete -c relayd -n "__fish_relayd_using_subcommand database; and not __fish_seen_subcommand_from migrate maintain status help" -f -a "maintain" -d 'Makes one pass of retention: partitions for the days to come, and away with what is no longer kept'
complete -c relayd -n "__fish_relayd_using_subcommand database; and not __fish_seen_subcommand_from migrate maintain status help" -f -a "status" -d 'Says which migrations are applied and which are missing, and which rights are missing'
complete -c relayd -n "__fish_relayd_using_subcommand database; and not __fish_seen_subcommand_from migrate maintain status help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand database; and __fish_seen_subcommand_from migrate" -l url -d 'Connect to this database, for instance as its owner; the configuration is not read then' -r
complete -c relayd -n "__fish_relayd_using_subcommand database; and __fish_seen_subcommand_from migrate" -l grant-to -d 'Then give this role the rights that running needs: SELECT and INSERT on the tables of reports, also UPDATE and DELETE on those of the node registry, USAGE on the sequence' -r
complete -c relayd -n "__fish_relayd_using_subcommand database; and __fish_seen_subcommand_from migrate" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand database; and __fish_seen_subcommand_from migrate" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand database; and __fish_seen_subcommand_from maintain" -l url -d 'Connect to this database, for instance as the owner of its tables; how long what is kept is read from the configuration' -r
complete -c relayd -n "__fish_relayd_using_subcommand database; and __fish_seen_subcommand_from maintain" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand database; and __fish_seen_subcommand_from maintain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand database; and __fish_seen_subcommand_from status" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand database; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand database; and __fish_seen_subcommand_from help" -f -a "migrate" -d 'Makes the missing tables; tables that are there already are left as they are'
complete -c relayd -n "__fish_relayd_using_subcommand database; and __fish_seen_subcommand_from help" -f -a "maintain" -d 'Makes one pass of retention: partitions for the days to come, and away with what is no longer kept'
complete -c relayd -n "__fish_relayd_using_subcommand database; and __fish_seen_subcommand_from help" -f -a "status" -d 'Says which migrations are applied and which are missing, and which rights are missing'
complete -c relayd -n "__fish_relayd_using_subcommand database; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand config; and not __fish_seen_subcommand_from default reference check show help" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand config; and not __fish_seen_subcommand_from default reference check show help" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand config; and not __fish_seen_subcommand_from default reference check show help" -f -a "default" -d 'Print a commented configuration file with all defaults'
complete -c relayd -n "__fish_relayd_using_subcommand config; and not __fish_seen_subcommand_from default reference check show help" -f -a "reference" -d 'Print all settings with type, default and meaning, in Markdown'
complete -c relayd -n "__fish_relayd_using_subcommand config; and not __fish_seen_subcommand_from default reference check show help" -f -a "check" -d 'Check the configuration, as --test'
complete -c relayd -n "__fish_relayd_using_subcommand config; and not __fish_seen_subcommand_from default reference check show help" -f -a "show" -d 'Print the settings as they apply, without secrets'
complete -c relayd -n "__fish_relayd_using_subcommand config; and not __fish_seen_subcommand_from default reference check show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand config; and __fish_seen_subcommand_from default" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand config; and __fish_seen_subcommand_from default" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c relayd -n "__fish_relayd_using_subcommand config; and __fish_seen_subcommand_from reference" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand config; and __fish_seen_subcommand_from reference" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand config; and __fish_seen_subcommand_from check" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand config; and __fish_seen_subcommand_from show" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "default" -d 'Print a commented configuration file with all defaults'
complete -c relayd -n "__fish_relayd_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "reference" -d 'Print all settings with type, default and meaning, in Markdown'
complete -c relayd -n "__fish_relayd_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "check" -d 'Check the configuration, as --test'
complete -c relayd -n "__fish_relayd_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Print the settings as they apply, without secrets'
complete -c relayd -n "__fish_relayd_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand completions" -s c -l config -d 'The directory that holds main.conf and logging.conf' -r -F
complete -c relayd -n "__fish_relayd_using_subcommand completions" -s h -l help -d 'Print help'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "status" -d 'Say how the running daemon is: role, uplink, database, spools, rates, nodes, certificates, disk'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "why" -d 'Say why a run log of a node is missing or old'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "doctor" -d 'Check the installation, and say what to do: files, ports, certificates, time, database, limits, disk'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "run-log" -d 'Look into run logs'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "spool" -d 'Look into the spools: what waits, what failed and why'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "run" -d 'Have nodes run their agent now, and print what they say'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "nodes" -d 'Say how nodes are: whether they answer, and what their last runs said'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "runs" -d 'List the complete runs that are stored, the newest first, or show one'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "compliance" -d 'Say how the fleet is, now or at any instant, as a whole or by parts; what is wrong; what changed'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "inventory" -d 'Look at what nodes say of themselves: hardware, network, packages, and how that changed'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "packages" -d 'Say which nodes have a package, by what their newest inventories list'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "vulnerabilities" -d 'Say which packages of the fleet fall under advisories that you provide: what is vulnerable or outdated'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "reload" -d 'Have the running daemon read again what can change while it runs: logging.conf, node list and certificates'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "node" -d 'Say which nodes there are, and which of them belong to the instance'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "token" -d 'Make one-time tokens that let nodes in'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "policy" -d 'Publish policies for nodes, signed, and go back'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "routes" -d 'Print which routes there are and who may use them'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "ca" -d 'Look after the built-in certification authority'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "server-key" -d 'Change the key by which nodes know this server, without losing one'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "database" -d 'Look after the tables of the reports database'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "config" -d 'Print defaults, reference and effective settings; check the configuration'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "completions" -d 'Print what a shell needs to complete the command line'
complete -c relayd -n "__fish_relayd_using_subcommand help; and not __fish_seen_subcommand_from status why doctor run-log spool run nodes runs compliance inventory packages vulnerabilities reload node token policy routes ca server-key database config completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from run-log" -f -a "show" -d 'Unpack, verify (with --cert), parse and print run logs'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from spool" -f -a "list" -d 'List the files that wait and those that failed'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from spool" -f -a "show" -d 'Show one file: where it is, its size and age, and why it failed'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from spool" -f -a "retry" -d 'Put failed files back, to be delivered again'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from spool" -f -a "drop" -d 'Delete failed files for good'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from nodes" -f -a "show" -d 'Show how a node is: by rule, and its last runs'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from runs" -f -a "show" -d 'Show a run: its reports, each with the log lines attached to it'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from compliance" -f -a "rebuild" -d 'Make state and history anew from the runs that are stored'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from compliance" -f -a "failing" -d 'List what is wrong, with what the reports say of it and the log lines attached to them'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from compliance" -f -a "changes" -d 'List what is other than it was'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from compliance" -f -a "timeline" -d 'Say how a node was over time, and what changed each time'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from inventory" -f -a "list" -d 'List the newest inventory of each node, in short'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from inventory" -f -a "show" -d 'Show what a node says of itself'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from inventory" -f -a "changes" -d 'Say how a node changed: packages and facts, the last change first'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from inventory" -f -a "export" -d 'Print facts of all nodes for other programs, one JSON object per line'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "list" -d 'List nodes, with state, last contact and the fingerprint of their key'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "show" -d 'Show all that is known of a node: keys, certificates, conflicts'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "accept" -d 'Let nodes into the instance: those that wait, or that were rejected or revoked before'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "reject" -d 'Decide against nodes that wait'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "revoke" -d 'Take accepted nodes out of the instance at once; their open connections are closed'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "delete" -d 'Forget nodes: their ids and keys are free again'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "move" -d 'Hang nodes below another relay, or below root'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "resolve" -d 'Say that the conflicts of nodes are settled'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "create" -d 'Make tokens. Each lets in one node, of this host name, once, until it expires'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "list" -d 'List tokens: for whom, whether used and by which node. Their texts are not known any more'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "revoke" -d 'Take tokens back before they are used'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "key" -d 'Look after the key that signs policies'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "publish" -d 'Sign a directory as the next version of the policies of nodes. It is served after `activate`'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "list" -d 'Say which versions there are of which nodes, and which one is served'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "diff" -d 'Say what differs between two versions of a node'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "activate" -d 'Serve a version that was published: the newest one, or the given one'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "rollback" -d 'Go back: sign the files of an older version as a new one, and serve it'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "renew" -d 'Sign what is served once more, so that it is valid for longer or under another key'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "remove" -d 'Forget all published policies of nodes: they get those of policies.directory again'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from ca" -f -a "init" -d 'Make the authority: its key and its certificate. Never overwrites one'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from ca" -f -a "issue" -d 'Issue a certificate for a service'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from ca" -f -a "renew" -d 'Make the certificate of the authority valid for longer. Key and name stay, and all that was issued'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from ca" -f -a "export" -d 'Print the certificate of the authority, PEM, for those who shall trust it'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from ca" -f -a "show" -d 'Say what authority there is and until when its certificate is valid'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from server-key" -f -a "next" -d 'Make the next key and announce it: agents that come by from then on know it before it is used'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from server-key" -f -a "activate" -d 'Use the next key from the next reload on. Its predecessors vouch for it to whoever knows only them'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from server-key" -f -a "show" -d 'Show the current key, its predecessors and the next one'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from server-key" -f -a "cancel" -d 'Give the next key up. Agents that know it already do no harm by that'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from server-key" -f -a "forget-chain" -d 'Stop sending the predecessors of the current key. After the theft of one, do this at once'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from database" -f -a "migrate" -d 'Makes the missing tables; tables that are there already are left as they are'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from database" -f -a "maintain" -d 'Makes one pass of retention: partitions for the days to come, and away with what is no longer kept'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from database" -f -a "status" -d 'Says which migrations are applied and which are missing, and which rights are missing'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "default" -d 'Print a commented configuration file with all defaults'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "reference" -d 'Print all settings with type, default and meaning, in Markdown'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "check" -d 'Check the configuration, as --test'
complete -c relayd -n "__fish_relayd_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Print the settings as they apply, without secrets'
