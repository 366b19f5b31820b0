#!/bin/bash
# kinora-serve [PARAMETER=VALUE]... COMMAND...: loads the module, starts the daemon, and runs the
# command once streams can be decoded. Afterwards the daemon is asked to end and the module unloaded:
# both must work. KINORA_DAEMON names another daemon.
set -u
# How long a job may take is tried elsewhere; here a busy host must not decide about pictures.
parameters=(timeout=10000)
while [[ $1 == *=* ]]; do
    parameters+=("$1")
    shift
done
kinora-load "${parameters[@]}" || exit
program=${KINORA_DAEMON:-kinora-decoded}
exec 3< <(exec "$program" 2>&1)
daemon=$!
# The first line that it says is that it serves, or why it cannot.
IFS= read -r line <&3 || { echo "kinora-serve: $program ended" >&2; exit 1; }
echo "$line" >&2
cat <&3 >&2 &
talk=$!
"$@"
status=$?
kill "$daemon" && wait "$talk"
rmmod kinora_dec || { echo "kinora-serve: the module is still in use" >&2; exit 1; }
exit "$status"
