#!/bin/bash
# kinora-compliance: v4l2-compliance on the video and the media node, streaming included; neither a
# failure nor a warning is accepted.
set -u
node() { for found in /sys/class/video4linux/*/name; do grep -qx kinora_dec "$found" && basename "${found%/name}"; done; }
video=/dev/$(node) failed=0
for arguments in "-d $video -s" "-m /dev/media0"; do
    # shellcheck disable=SC2086 # two or three words
    v4l2-compliance $arguments >/tmp/compliance 2>&1
    total=$(grep '^\(Grand \)\?Total for' /tmp/compliance | tail -n 1)
    echo "$total"
    [[ $total =~ Failed:\ 0,\ Warnings:\ 0$ ]] && continue
    failed=1
    grep -n 'fail:\|warn:\|FAIL' /tmp/compliance
done
exit "$failed"
