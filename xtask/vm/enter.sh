#!/bin/bash
# Runs a command in the Debian root: enter.sh ROOT WHERE [FOLDER PLACE]... -- COMMAND...
# WHERE is the folder it runs in; each FOLDER is seen at PLACE. Runs in mount and process namespaces of its own, which end with it.
set -euo pipefail
root=$1 where=$2
shift 2
# A container may forbid a fresh /proc; its own does for a compiler.
mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
while [[ $1 != -- ]]; do
    mkdir -p "$root$2"
    mount --rbind "$1" "$root$2"
    shift 2
done
shift
exec chroot "$root" /usr/bin/env -i "--chdir=$where" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 "$@"
