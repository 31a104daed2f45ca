# The first thing that cloud-init runs (bootcmd): the account, before the module that makes the user.
# usage: NONCE USER UID HOME GID:GROUP...    (the primary group comes first)
set -eu
nonce=$1 user=$2 uid=$3 home=$4
shift 4
echo "vtorque-phase: cloud-init $nonce" >>/dev/console

# An account of the image that has this name or this number gives way, with its memberships, its password and all
# that is granted to its name.
for key in "$user" "$uid"; do
    account=$(getent passwd "$key" | cut -d: -f1)
    [ -z "$account" ] || userdel --force "$account"
done

# Files are the gids', so a gid is never another one: where the image has the gid under another name, that name
# stays; where it has the name with another gid, the gid gets a name of its own.
for group; do
    gid=${group%%:*} name=${group#*:}
    getent group "$gid" >/dev/null || groupadd --gid "$gid" "$name" || groupadd --gid "$gid" "vtorque-$gid"
done

# The home on the root disk; a mount may cover it later. A directory of the system's stays the system's.
if [ ! -e "$home" ] || [ "$(stat -Lc %u "$home")" -ge 1000 ]; then
    mkdir -p "$home"
    chmod 0700 "$home"
    chown "$uid:${1%%:*}" "$home"
fi
