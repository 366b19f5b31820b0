#!/bin/bash
# Completes the Debian root, inside it: places for what is mounted, and GStreamer's plugins scanned
# once here instead of at each boot. /kinora/work holds the first program of the guests.
set -euo pipefail
mkdir -p /kinora/{bin,cargo,job,kernel,media,module,rust,src,target} /share /usr/lib/modules
install -m 755 /kinora/work/boot.sh /kinora/boot
GST_REGISTRY=/kinora/gstreamer-registry gst-inspect-1.0 >/dev/null
[[ -s /kinora/gstreamer-registry ]]
