# sshd's settings, where its own file takes in no others, as before OpenSSH 8.2: of several values the first counts.
# usage: SETTINGS
set -eu
config=/etc/ssh/sshd_config

[ -e "$config" ] || exit 0
grep -Eiq '^[[:space:]]*Include[[:space:]].*/sshd_config\.d/' "$config" && exit 0
own=$(cat "$config")
printf '%s%s\n' "$1" "$own" >"$config"
