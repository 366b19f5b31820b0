#!/bin/bash
# Makes a stock Debian kernel bootable from a folder, inside the Debian root: unpack-stock.sh OUT RELEASE
# /kinora/work/debs holds its packages. OUT gets:
#
#   vmlinuz      the kernel as Debian has it
#   initrd.cpio  a first root that mounts the real one over 9p
#   release      what `uname -r` says in it
#   lib/modules  those of its modules that a machine without devices may want
#   headers      what modules are built against: usr/src and usr/lib/linux-kbuild-*
set -euo pipefail
out=$1 release=$2
all=$(mktemp -d /kinora/work/all.XXXX)
# Older packages have /lib, newer ones /usr/lib.
mkdir -p "$all/usr/lib"
ln -s usr/lib "$all/lib"
for deb in /kinora/work/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$all"
done
modules=$all/usr/lib/modules/$release

# Since 7.2 the image lies with its modules.
if [[ -e $modules/vmlinuz ]]; then
    mv "$modules/vmlinuz" "$out/vmlinuz"
else
    mv "$all/boot/vmlinuz-$release" "$out/vmlinuz"
fi

kept=$all/kept
for part in arch crypto lib net/9p fs/9p fs/netfs fs/fscache fs/overlayfs \
    drivers/{media,virtio,char,i2c,dma-buf,base} drivers/gpu/drm/{vgem,display} drivers/gpu/drm/drm*.ko*; do
    for found in "$modules"/kernel/$part; do
        [[ -e $found ]] || continue
        mkdir -p "$kept/${found%/*}" && mv "$found" "$kept/${found%/*}/"
    done
done
rm -rf "$modules"/{kernel,build,source}
mv "$kept/$modules/kernel" "$modules/kernel"
depmod -b "$all" "$release"

first=$(mktemp -d /kinora/work/first.XXXX)
mkdir -p "$first"/{bin,proc,sys,dev,newroot,modules}
cp /usr/bin/busybox "$first/bin/busybox"
install -m 755 /kinora/work/initramfs.sh "$first/init"
for module in virtio_pci virtio_console virtio-rng 9pnet_virtio 9p; do
    modprobe -d "$all" -S "$release" --show-depends "$module"
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r module; do
    name=$(basename "$module" .xz)
    case $module in
    *.xz) xz -dc "$module" >"$first/modules/$name" ;;
    *) cp "$module" "$first/modules/$name" ;;
    esac
    echo "$name" >>"$first/modules/order"
done
(cd "$first" && find . -print0 | cpio --null -o -H newc --quiet) >"$out/initrd.cpio"

mkdir -p "$out/lib/modules" "$out/headers/usr/lib" "$out/headers/usr/src"
mv "$modules" "$out/lib/modules/"
mv "$all"/usr/src/linux-headers-* "$out/headers/usr/src/"
mv "$all"/usr/lib/linux-kbuild-* "$out/headers/usr/lib/"
echo "$release" >"$out/release"
rm -rf "$all" "$first"
