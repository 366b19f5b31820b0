#!/bin/busybox sh
# First program of a guest under QEMU: mounts the Debian root and the job, which the host shares over
# 9p, and goes on with the job's script.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order
options=trans=virtio,version=9p2000.L,msize=512000,cache=loose
mount -t 9p -o "ro,$options" root /newroot && mount -t 9p -o "ro,$options" job /newroot/kinora/job ||
    poweroff -f
mount --move /proc /newroot/proc
mount --move /sys /newroot/sys
mount --move /dev /newroot/dev
exec switch_root /newroot /bin/bash /kinora/job/init
