# The last thing that cloud-init runs (runcmd): is all in place? Then the boot token, and the job may come.
# usage: NONCE USER UID GIDS PACKAGES TARGET...    (GIDS: all of the user's, ascending; a blank after each of both)
set -eu
nonce=$1 user=$2 uid=$3 gids=$4 packages=$5
shift 5
phase() { echo "vtorque-phase: $* $nonce" >>/dev/console; }

# What a server has is mounted here: mount.nfs alone would try for minutes. What cloud-init could not mount says why.
phase mounts
for target; do
    mountpoint -q "$target" && continue
    code=0
    timeout -k 5 30 mount "$target" >>/dev/console 2>&1 || code=$?
    case $code in
        0) ;;
        124 | 137) phase mounts-failed "$target: $(findmnt -sno SOURCE "$target") did not answer within 30 s" && exit 1 ;;
        *) phase mounts-failed "$target" && exit 1 ;;
    esac
done

if [ "$(id -u "$user")" != "$uid" ] || [ "$(id -G "$user" | tr ' ' '\n' | sort -n | tr '\n' ' ')" != "$gids" ]; then
    phase user-failed "$user"
    exit 1
fi

# The key to the job's other guests: ssh takes it from the user alone.
chown "$uid:$(id -g "$user")" "/etc/ssh/vtorque/$user.key"

# What else is done here (cloud_config.programs): nothing that fails is passed over.
site() {
    [ -x "/etc/vtorque/$2" ] || return 0
    phase "$1"
    code=0
    "/etc/vtorque/$2" </dev/null >>/dev/console 2>&1 || code=$?
    [ "$code" = 0 ] || { phase "$1-failed" "$code" && exit 1; }
}
site updates updates
if [ -n "$packages" ]; then
    phase packages
    # shellcheck disable=SC2086 # a name each
    failed=$(/etc/vtorque/packages $packages </dev/null 2>>/dev/console) || { phase packages-failed $failed && exit 1; }
fi
site hooks boot

mkdir -p /run/vtorque
install -d -m 0700 -o "$uid" -g "$(id -g "$user")" /run/vtorque/job
{
    echo "token=$nonce"
    echo "instance_id=$(cat /var/lib/cloud/data/instance-id)"
    echo "product_uuid=$(tr '[:upper:]' '[:lower:]' </sys/class/dmi/id/product_uuid)"
    echo "boot_id=$(cat /proc/sys/kernel/random/boot_id)"
} >/run/vtorque/boot.new
chmod 0644 /run/vtorque/boot.new
mv /run/vtorque/boot.new /run/vtorque/boot
phase ready
