#!/bin/bash
# kinora-va COMMAND...: runs a command whose libva finds Kinora's driver, with the display of vgem.
set -eu
modprobe vgem
# GStreamer offers drivers that it does not know only when told to.
export GST_VA_ALL_DRIVERS=1
export LIBVA_DRIVERS_PATH=/kinora/bin LIBVA_DRIVER_NAME=v4l2_request
exec "$@"
