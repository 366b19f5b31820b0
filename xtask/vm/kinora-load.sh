#!/bin/bash
# Loads the decoder's module, in a guest, after the modules that it uses:
# kinora-load [PARAMETER=VALUE]...
set -euo pipefail
IFS=, read -ra needed < <(modinfo -F depends "${KINORA_MODULE:?this checkout has no module}")
((${#needed[@]} == 0)) || modprobe -a "${needed[@]}"
exec insmod "$KINORA_MODULE" "$@"
