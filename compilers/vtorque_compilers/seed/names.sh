# The names of the job's guests, which lie beside this on the seed's volume: thousands in a large job.
# usage: SSH_CONFIG HOSTS    (HOSTS: further lines of /etc/hosts; what the image has there stays)
set -eu
volume=/run/vtorque-seed

mkdir -p "$volume"
mount -o ro /dev/disk/by-id/virtio-vdb "$volume"
{
    cat "$volume/hosts"
    printf %s "$2"
} >>/etc/hosts
mkdir -p "${1%/*}"
cat "$volume/ssh_config" >"$1"
chmod 0644 "$1"
umount "$volume"
rmdir "$volume"
