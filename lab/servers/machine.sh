#!/bin/sh
# The first process of a lab's machine (lab/servers/machine.py): mounts what a machine has, then hands over to systemd with the
# units in its own folder. The machine sees this machine's files and can change only those in that folder.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /run/lab
mount -t hostfs -o "$LAB" none /run/lab
hostname "$NAME"
for module in $(echo "$MODULES" | tr , ' '); do
    insmod "$(find /usr/lib/uml/modules/"$(uname -r)" -name "$module.ko")"
done
ip link set lo up
ip address add "$ADDRESS" dev vec0
ip link set vec0 up
cp -r /run/lab/units /run/units
mkdir /run/hosts
mount --bind "$SCRIPTS" /run/hosts
exec env -i PATH="$PATH" SYSTEMD_UNIT_PATH=/run/units /lib/systemd/systemd --unit=lab.target --log-target=console --log-level=warning
