#!/bin/bash
# Process 1 of every guest: mounts what the job names, runs its command, reports its exit status and
# switches the machine off. The job is the folder /kinora/job:
#
#   settings  shell assignments: kind (uml or qemu), host_job (this folder, as the host calls it),
#             shell (yes or no), dump_after (seconds or empty)
#   mounts    a line each: NAME TARGET ro|rw
#   env       the environment, NUL after each NAME=VALUE
#   command   the command and its arguments, NUL after each
#   mnt/NAME  what is mounted (User Mode Linux; QEMU has a 9p tag of that name)
export PATH=/kinora/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
job=/kinora/job
# shellcheck source=/dev/null
. $job/settings
: "${kind:?}" "${shell:?}" "${host_job?}" # the settings

# One static program instead of thirty linked ones: where memory is checked a start of those takes a
# second.
for applet in cat cp ln mkdir mkfifo mount setsid stty sync; do eval "$applet() { busybox $applet \"\$@\"; }"; done

[[ -e /proc/self ]] || mount -t proc proc /proc
[[ -e /sys/kernel ]] || mount -t sysfs sys /sys
[[ -e /dev/null ]] || mount -t devtmpfs dev /dev
mount -t debugfs debugfs /sys/kernel/debug
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for folder in /tmp /run /dev/shm; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
ln -sfn /proc/self/fd /dev/fd
ulimit -c 0

# The boot is told only from warnings on; what the command causes is wanted whole.
echo 8 >/proc/sys/kernel/printk
[[ ! -w /proc/sys/kernel/hung_task_timeout_secs ]] || echo 15 >/proc/sys/kernel/hung_task_timeout_secs

case $kind in
uml) console=/dev/tty0 out=/dev/ttyS0 err=/dev/ttyS1 control=/dev/ttyS2 ;;
qemu)
    # Named by the virtio device's number, which all of them share, and the port's.
    ports=$(echo /dev/vport*p1)
    ports=${ports%1}
    console=/dev/ttyS0 out=${ports}1 err=${ports}2 control=${ports}3
    ;;
esac

# finish LINE: the last word to the host, then off. What was written to shared folders goes first.
finish() {
    sync
    [[ $shell == yes ]] || echo "$1" >"$control"
    busybox poweroff -f
}

mount_one() { # NAME TARGET MODE
    local cache=loose
    [[ $3 == ro ]] || cache=mmap
    case $kind in
    uml) mount -t hostfs -o "$3,$host_job/mnt/$1" none "$2" ;;
    qemu) mount -t 9p -o "$3,trans=virtio,version=9p2000.L,msize=512000,cache=$cache" "$1" "$2" ;;
    esac
}
while read -r name target mode; do
    mount_one "$name" "$target" "$mode" || finish "cannot mount $name at $target"
done <$job/mounts

# Scanning GStreamer's plugins takes seconds in an emulated machine; the root brings the result.
cp /kinora/gstreamer-registry /tmp/gstreamer-registry
export HOME=/tmp XDG_RUNTIME_DIR=/run LANG=C.UTF-8 GST_REGISTRY=/tmp/gstreamer-registry
mapfile -d '' -t environment <$job/env
for variable in "${environment[@]}"; do export "${variable?}"; done
cd /tmp || finish "cannot enter /tmp"

if [[ $shell == yes ]]; then
    echo 5 >/proc/sys/kernel/printk
    command setsid --ctty --wait bash -i <>"$console" >&0 2>&0
    finish
fi

# The streams go through pipes, so that the command sees no terminal, into lines that pass bytes as
# they are.
mkfifo /run/out /run/err
exec 7<>"$out" 8<>"$err"
if [[ $kind == uml ]]; then
    stty raw -echo <&7
    stty raw -echo <&8
fi
cat /run/out >&7 &
out_cat=$!
cat /run/err >&8 &
err_cat=$!

# dump: writes into the log what every process is at, and where in the kernel it sleeps.
dump() {
    local task
    for task in /proc/[0-9]*/task/[0-9]*; do
        [[ $(readlink "$task/exe") ]] || continue
        {
            echo "$(<"$task/comm") ${task##*/} $(grep State: "$task/status")"
            cat "$task/stack"
        } >/dev/kmsg
    done
} 2>/dev/null
# Before the host ends the machine.
[[ -z $dump_after ]] || { sleep "$dump_after" && dump; } &

# kill_sessions: ends what the command left behind. Threads of the kernel and these helpers are in
# session 0.
kill_sessions() {
    local stat line fields
    for stat in /proc/[0-9]*/stat; do
        read -r line <"$stat" || continue
        read -ra fields <<<"${line##*) }"
        ((fields[3] == 0)) || kill -KILL "${line%% *}"
    done
} 2>/dev/null

mapfile -d '' -t command <$job/command
# In a session of its own, so that what it leaves behind can be told from these helpers.
(exec busybox setsid "${command[@]}" </dev/null >/run/out 2>/run/err 7>&- 8>&-)
status=$?
kill_sessions
# A process that cannot be killed must not keep the streams open.
{ sleep 2 && kill "$out_cat" "$err_cat"; } 2>/dev/null &
wait "$out_cat" "$err_cat"
exec 7>&- 8>&-
finish "exit $status"
