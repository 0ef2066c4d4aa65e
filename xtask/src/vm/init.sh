#!/bin/busybox sh
# Process 1 of the virtual machine: file systems, modules, the script, power off.
export PATH=/bin:/sbin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs run /run
# Several passes resolve the modules' order without modprobe.
for pass in 1 2 3; do
    while read -r module; do insmod "/lib/modules/$module.ko" 2>/dev/null; done < /lib/modules/order
done
echo "kernel $(uname -r), up after $(cut -d' ' -f1 /proc/uptime) s"
/test.sh
echo "VM-RESULT $?"
poweroff -f
