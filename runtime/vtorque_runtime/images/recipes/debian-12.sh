#!/bin/bash
# Build a small Debian 12 guest that QEMU boots by its kernel and initrd, without a boot loader.
#
#   debian-12.sh OUT DEBS KERNEL [PACKAGE...]       (as root)
#
# OUT      directory that receives root.qcow2, vmlinuz, initrd.img, packages.txt (each package with its version) and
#          contents.txt (each file of the guest, with its digest, and the kernel's and the initrd's). Its directory
#          work/ is scratch that the caller made and removes; in it stand
#            debian.sources   apt sources (deb822) of bookworm, its updates and its security archive
#            apt.conf         apt settings that reach them (proxy, certificates); they do not stay in the guest
#          and the caller finds there
#            uids, gids       the numbers that accounts, groups and files of the guest have, one a line
# DEBS     directory of .deb files kept from build to build
# KERNEL   linux-image-cloud-amd64, or linux-image-amd64, which has 9p; the guest can mount that and NFS then
# PACKAGE  a Debian package that the guest has beside those below
#
# Standard output tells the progress: "step N/ALL TEXT" opens a step, "part N/ALL" is how far the step is.
# Standard error is the log.
#
# The same packages and sources give the same bytes, with the same tools: nothing keeps the moment of the build.
set -euo pipefail
umask 022
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin

out=$1 debs=$2 kernel=$3
work=$out/work
root=$work/root          # the guest's file system
unpacked=$work/unpacked  # kernel and busybox, unpacked and never installed
initrd=$work/initrd

packages=systemd-sysv,udev,kmod,e2fsprogs,iproute2,netbase,libnss-myhostname,openssh-server,qemu-guest-agent,cloud-init
for package in "${@:4}"; do packages+=,$package; done

# To mount the root disk; what is built into the kernel is skipped.
disk_modules=(virtio_pci virtio_blk crc32c_generic ext4)
# Network, agent port, randomness, the seed's ISO 9660, shared directories.
guest_modules=(virtio_net virtio_console virtio_rng isofs nls_utf8 fuse virtiofs)
[ "$kernel" = linux-image-cloud-amd64 ] || guest_modules+=(9p 9pnet_virtio nfs nfsv3 nfsv4)

# Units that cost boot time or write to the console, and serve nothing in a machine that lives for one job.
masked_units=(
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
  getty@tty1.service getty-static.service serial-getty@ttyS0.service
  systemd-firstboot.service systemd-hwdb-update.service systemd-journal-catalog-update.service ldconfig.service
  systemd-update-done.service systemd-machine-id-commit.service systemd-network-generator.service
  systemd-pstore.service systemd-random-seed.service systemd-rfkill.socket systemd-timesyncd.service
  systemd-update-utmp.service systemd-update-utmp-runlevel.service
  sys-kernel-debug.mount sys-kernel-tracing.mount dev-mqueue.mount proc-sys-fs-binfmt_misc.automount
  modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service modprobe@efi_pstore.service
  modprobe@fuse.service modprobe@loop.service cloud-init-hotplugd.socket
)

begin() {
  echo "step $1/8 $2"
  echo "== $2" >&2
}

# Read mmdebstrap's log. apt says, sometimes twice, how many packages it will fetch, unpack and set up.
count_packages() {
  local line packages=0 done=0 all=0
  while IFS= read -r line; do
    echo "$line" >&2
    case $line in
      'I: downloading packages'*) done=0 && begin 2 'essential packages' ;;
      'I: installing remaining packages'*) done=0 && begin 3 'packages' ;;
      *' newly installed, '*) line=${line#*, } packages=${line%% *} all=$((3 * packages)) ;;
      'Need to get 0 B'*) all=$((2 * packages)) ;;
      'Get:'* | 'Unpacking '* | 'Setting up '*)
        done=$((done + 1))
        ((done > all)) || echo "part $done/$all"
        ;;
    esac
  done
}

# apt runs outside the guest, where the site's proxies and certificates are known.
install_packages() {
  begin 1 'package lists'
  mkdir "$unpacked"
  chmod 755 "$work" # apt's own user passes through
  install -d -m 1777 "$work/tmp"
  # shellcheck disable=SC2016  # $1 is for the shell that mmdebstrap starts
  TMPDIR=$work/tmp mmdebstrap --mode=root --variant=minbase --architectures=amd64 --format=directory --verbose \
    --skip=download/empty --skip=essential/unlink --skip=cleanup/apt/cache \
    --aptopt="$work/apt.conf" \
    --aptopt='Acquire::Languages "none"' \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/i18n/*' \
    --include="$packages" \
    --setup-hook="mkdir -p \"\$1/var/cache/apt/archives/partial\"" \
    --setup-hook="find '$debs' -name '*.deb' -exec cp -t \"\$1/var/cache/apt/archives\" {} +" \
    --customize-hook="bash '$0' --unpack '$debs' '$kernel' \"\$1\" '$unpacked'" \
    bookworm "$root" "$work/debian.sources" </dev/null 2>&1 | count_packages
}

# What the build makes itself is dated as the newest file that came in a package.
choose_date() {
  date=$(find "$root" -xdev ! -newer "$work/started" -printf '%Ts\n' | sort -n | tail -n 1)
}

# date_files DIRECTORY
date_files() { find "$1" -xdev -newer "$work/started" -exec touch --no-dereference --date="@$date" {} +; }

# Runs inside mmdebstrap: take the kernel and busybox out of their packages; keep the .debs that are still current.
unpack_kernel() {
  local archives=$1/var/cache/apt/archives unpacked=$2 image deb
  export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
  apt-get --quiet autoclean
  image=$(apt-cache depends --important "$kernel" | sed -n 's/^  Depends: \(linux-image-.*\)/\1/p')
  (cd "$archives" && apt-get --quiet download "$image" busybox-static)
  for deb in "$archives/$image"_*.deb "$archives"/busybox-static_*.deb; do dpkg-deb -x "$deb" "$unpacked"; done
  find "$debs" -name '*.deb' -delete
  mv -t "$debs" "$archives"/*.deb
}

# copy_modules DEST MODULE...: the modules with all they depend on; prints their paths in the order to load them.
copy_modules() {
  local dest=$1 module file
  shift
  for module; do
    modprobe -d "$unpacked" -S "$release" --show-depends --ignore-install "$module"
  done | sed -n "s|^insmod $unpacked\([^ ]*\).*|\1|p" | awk '!seen[$0]++' | while read -r file; do
    install -D -m 644 "$unpacked$file" "$dest$file"
    echo "$file"
  done
}

install_kernel() {
  begin 4 'kernel and modules'
  release=$(ls "$unpacked/lib/modules")
  cp "$unpacked/boot/vmlinuz-$release" "$out/vmlinuz"
  depmod -b "$unpacked" "$release"
  copy_modules "$root" "${disk_modules[@]}" "${guest_modules[@]}" >&2
  cp "$unpacked/lib/modules/$release"/modules.{builtin,builtin.modinfo,order} "$root/lib/modules/$release/"
  depmod -b "$root" "$release"
}

make_initrd() {
  begin 5 'initrd'
  mkdir -p "$initrd"/{bin,dev,proc,sys,root}
  cp "$unpacked/bin/busybox" "$initrd/bin/"
  copy_modules "$initrd" "${disk_modules[@]}" >"$initrd/modules"
  cat >"$initrd/init" <<'INIT'
#!/bin/busybox sh
# Load the disk's drivers, mount root=, hand over to systemd.
busybox=/bin/busybox
give_up() {
  echo "initrd: $1"
  $busybox poweroff -f
}

echo 'vtorque-phase: kernel'
$busybox mount -t devtmpfs dev /dev
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sys /sys
while read -r module; do $busybox insmod "$module"; done </modules

for word in $($busybox cat /proc/cmdline); do
  case $word in
    root=*) wanted=${word#root=} ;;
    ro | rw) access=$word ;;
  esac
done
tries=200
until disk=$($busybox findfs "$wanted") && [ -b "$disk" ]; do
  tries=$((tries - 1))
  [ $tries -gt 0 ] || give_up "no disk for root=$wanted"
  $busybox usleep 50000
done 2>/dev/null
$busybox mount -t ext4 -o "${access:-ro}" "$disk" /root || give_up "cannot mount $disk"
$busybox mount --move /dev /root/dev
$busybox umount /proc /sys
exec $busybox switch_root /root /sbin/init
INIT
  chmod 755 "$initrd/init"
  date_files "$initrd"
  (cd "$initrd" && find . -print0 | sort -z | cpio --null --create --format=newc --owner=0:0 --reproducible --quiet) |
    zstd -q -19 >"$out/initrd.img"
}

# into FILE: standard input becomes a file of the guest
into() { install -D -m 644 /dev/stdin "$root$1"; }

configure_system() {
  begin 6 'configuration'
  local unit n
  for unit in "${masked_units[@]}"; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
  chroot "$root" systemctl --quiet enable systemd-networkd.service ssh.service >&2
  ln -sf /dev/null "$root/etc/systemd/network/99-default.link" # cards stay eth0, eth1
  # cloud-init 22.4 does not pass "accept-ra: false" on, and networkd then waits 13 s for an IPv6 router.
  for n in {0..7}; do
    printf '[Network]\nIPv6AcceptRA=no\n' | into "/etc/systemd/network/10-cloud-init-eth$n.network.d/no-ra.conf"
  done
  printf '[Journal]\nStorage=volatile\nForwardToConsole=no\n' | into /etc/systemd/journald.conf.d/guest.conf
  printf '[Manager]\nDefaultTimeoutStopSec=15s\n' | into /etc/systemd/system.conf.d/guest.conf
  printf '127.0.0.1 localhost\n::1 localhost\n' | into /etc/hosts
  echo 'LANG=C.UTF-8' | into /etc/default/locale
  echo guest | into /etc/hostname
  into /etc/fstab </dev/null
  into /etc/machine-id </dev/null
  rm -f "$root/etc/resolv.conf"
  into /etc/resolv.conf </dev/null
}

# sshd starts when cloud-init has written the seed's host key and login keys, and not at all without a host key; and
# when users may log in, so that the first login that reaches it is not turned away.
# It takes the first value that it meets, so a file of the seed that sorts before this one can say otherwise.
configure_ssh() {
  rm -f "$root"/etc/ssh/ssh_host_*
  install -d -m 755 "$root/etc/ssh/vtorque"
  into /etc/ssh/sshd_config.d/90-image.conf <<'CONF'
AuthenticationMethods publickey
AuthorizedKeysFile /etc/ssh/vtorque/%u
KbdInteractiveAuthentication no
PasswordAuthentication no
PermitRootLogin no
PrintMotd no
UseDNS no
CONF
  into /etc/systemd/system/ssh.service.d/after-seed.conf <<'CONF'
[Unit]
After=cloud-init.service systemd-user-sessions.service
ConditionPathExistsGlob=/etc/ssh/ssh_host_*_key
CONF
}

configure_cloud_init() {
  echo 'policy: enabled' | into /etc/cloud/ds-identify.cfg
  rm -f "$root/etc/cloud/cloud.cfg.d/90_dpkg.cfg" # lists every datasource there is
  # The host checks a seed before the boot. Here each of cloud-init's four starts would spend two seconds on it.
  rm -rf "$root/usr/lib/python3/dist-packages/jsonschema"
  into /etc/cloud/cloud.cfg <<'CFG'
# The whole configuration: a seed names its users, keys and mounts; there is no default user.
datasource_list: [NoCloud, None]
users: []
disable_root: true
ssh_pwauth: false
ssh_deletekeys: false
ssh_genkeytypes: []
preserve_hostname: false
resize_rootfs: true
system_info:
  distro: debian
  network: {renderers: [networkd]}
  paths: {cloud_dir: /var/lib/cloud/, templates_dir: /etc/cloud/templates/}
cloud_init_modules: [bootcmd, write-files, resizefs, mounts, set_hostname, users-groups, ssh]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user, final-message]
CFG
}

trim() {
  chroot "$root" passwd --quiet --lock root
  # Nobody has a password or may mount here: only newgrp keeps its setuid bit.
  find "$root" -xdev -type f -perm -4000 ! -name newgrp -exec chmod u-s {} +
  rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/{apt,debconf,ldconfig}/* "$root"/var/log/{apt,*.log} \
    "$root"/usr/share/zoneinfo/{right,posix} "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/tmp/* \
    "$root"/etc/{passwd,group,shadow,gshadow,subuid,subgid}-
  # The day on which each account had its password changed last.
  sed -i "s/^\([^:]*:[^:]*\):[0-9]*:/\1:$((date / 86400)):/" "$root/etc/shadow"
  chroot "$root" dpkg-query --show >"$out/packages.txt"
  date_files "$root"
}

# A digest of this gives the file system its UUID. So an image with another kernel or initrd has another disk too, and
# with that another name in the store.
describe() {
  (
    cd "$root"
    find . -xdev -printf '%p %M %U:%G %Ts %l\n'
    { find . -xdev -type f -exec sha256sum {} + && cd "$out" && sha256sum vmlinuz initrd.img; } |
      sed 's/^\([0-9a-f]*\) [ *]\(.*\)/\2 \1/'
  ) | sort >"$out/contents.txt"
  { cut -d: -f3 "$root/etc/passwd" && find "$root" -xdev -printf '%U\n'; } | sort -nu >"$work/uids"
  { cut -d: -f4 "$root/etc/passwd" && cut -d: -f3 "$root/etc/group" && find "$root" -xdev -printf '%G\n'; } |
    sort -nu >"$work/gids"
}

make_disk() {
  begin 7 'file system'
  local digest uuid hash_seed inodes field
  digest=$(sha256sum <"$out/contents.txt")
  uuid=${digest:0:8}-${digest:8:4}-${digest:12:4}-${digest:16:4}-${digest:20:12}
  hash_seed=${digest:32:8}-${digest:40:4}-${digest:44:4}-${digest:48:4}-${digest:52:12}
  export E2FSPROGS_FAKE_TIME=$date
  mke2fs -q -t ext4 -L root -m 0 -O ^has_journal -U "$uuid" \
    -E "hash_seed=$hash_seed,lazy_itable_init=1,assume_storage_prezeroed=1" -d "$root" "$work/root.raw" 1G >&2
  # mke2fs keeps when each file was made here and read last. It uses inodes from the first on, without a gap.
  inodes=$(dumpe2fs -h "$work/root.raw" 2>/dev/null | awk '/^Inode count:/ {n = $3} /^Free inodes:/ {print n - $3}')
  for field in ctime atime; do
    seq -f "set_inode_field <%.0f> $field @$date" "$inodes"
    seq -f "set_inode_field <%.0f> ${field}_extra 0" "$inodes"
  done >"$work/dates"
  debugfs -w -f "$work/dates" "$work/root.raw" >/dev/null
  begin 8 'disk image'
  qemu-img convert -f raw -O qcow2 "$work/root.raw" "$out/root.qcow2"
}

if [ "$1" = --unpack ]; then
  unpack_kernel "$4" "$5"
  exit
fi
touch "$work/started"
install_packages
choose_date
install_kernel
make_initrd
configure_system
configure_ssh
configure_cloud_init
trim
describe
make_disk
