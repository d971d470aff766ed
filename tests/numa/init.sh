#!/bin/busybox sh
# The first program of the virtual machine: mounts what programs expect, does what /plan says, powers
# off. What stands between "@begin NAME" and "@end NAME EXIT_CODE SECONDS" on the console is what a program
# said, and how long it took.

/bin/busybox mkdir -p /proc /sys /dev /tmp /root
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
ifconfig lo 127.0.0.1 up

export PATH=/bin HOME=/root NO_COLOR=1 MILLRACE_TEST_NUMA=1
export DENO_DIR=/tmp/deno DENO_NO_UPDATE_CHECK=1
cd /millrace

# Runs a program; an empty line first, as the one before may have left its last line open.
run() {
  name=$1
  shift
  printf '\n@begin %s\n' "$name"
  began=$(cut -d. -f1 /proc/uptime)
  # Through a pipe, lest the program takes the console for somebody who watches.
  { "$@" </dev/null 2>&1; echo $? >/tmp/exit_code; } | cat
  printf '\n@end %s %d %d\n' "$name" "$(cat /tmp/exit_code)" $(($(cut -d. -f1 /proc/uptime) - began))
}

echo "@booted"
. /plan
echo "@done"
poweroff -f
