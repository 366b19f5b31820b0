#!/bin/bash
# kinora-serve COMMAND...: loads the module, starts the daemon, and runs the command once streams can
# be decoded. Afterwards the daemon is asked to end and the module unloaded: both must work.
set -u
# How long a job may take is tried elsewhere; here a busy host must not decide about pictures.
kinora-load timeout=10000 || exit
exec 3< <(exec kinora-decoded 2>&1)
daemon=$!
# The first line of its log says that it serves, or why it cannot.
IFS= read -r line <&3 || { echo "kinora-serve: kinora-decoded ended" >&2; exit 1; }
echo "$line" >&2
cat <&3 >&2 &
talk=$!
"$@"
status=$?
kill "$daemon" && wait "$talk"
rmmod kinora_dec || { echo "kinora-serve: the module is still in use" >&2; exit 1; }
exit "$status"
