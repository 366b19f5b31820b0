#!/bin/bash
# Builds a User Mode Linux kernel inside the Debian root: build-uml.sh OBJECTS OUT JOBS
# /kinora/work/source is the source, OBJECTS/fragment says what the kernel holds. OUT gets:
#
#   linux        the kernel, a program
#   release      what `uname -r` says in it
#   lib/modules  its modules
#   dev          what modules are built against; needs neither source nor objects, nor its place
set -euo pipefail
source=/kinora/work/source objects=$1 out=$2 jobs=$3
um=(make -s -C "$source" ARCH=um "O=$objects" KBUILD_BUILD_USER=kinora KBUILD_BUILD_HOST=kinora)

"${um[@]}" "KCONFIG_ALLCONFIG=$objects/fragment" allnoconfig
missing=$(comm -23 <(grep '^CONFIG_' "$objects/fragment" | sort) <(sort "$objects/.config"))
if [[ -n $missing ]]; then
    printf 'this kernel source does not give:\n%s\n' "$missing" >&2
    exit 1
fi
"${um[@]}" "-j$jobs"
"${um[@]}" modules_install "INSTALL_MOD_PATH=$out"
rm -f "$out"/lib/modules/*/build

"${um[@]}" run-command "KBUILD_RUN_COMMAND=$source/scripts/package/install-extmod-build $out/dev"
# What that script, made for x86 itself, leaves out for um.
cd "$source"
{
    printf '%s\0' arch/x86/Makefile.um arch/x86/include arch/x86/um/asm arch/x86/um/shared
    find arch/um \( -name 'Makefile*' -o -name 'Kconfig*' -o -path '*/include/*' \) -type f -print0
} | tar -c --null -T - | tar -x -C "$out/dev"
cd "$objects"
find arch -path '*/include/generated/*' -type f -print0 | tar -c --null -T - | tar -x -C "$out/dev"

install linux "$out/linux"
cp include/config/kernel.release "$out/release"
