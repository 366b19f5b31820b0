#!/bin/busybox sh
# First program of a User Mode Linux guest, at /kinora/boot in its root. Mounts the folder that says
# what to do, which the kernel's command line names, and goes on with the script in it. It must not
# change with what a guest does: the root is built for an hour of tests, the job for one.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
busybox mount -t proc proc /proc
job=$(busybox sed -n 's/.*kinora\.job=\([^ ]*\).*/\1/p' /proc/cmdline)
busybox mount -t hostfs -o "$job" none /kinora/job || busybox poweroff -f
exec bash /kinora/job/init
