# Name servers and time servers, for the programs of the image that heed them.
# usage: DNS SEARCH NTP    (each a list, with blanks between)
set -eu
dns=$1 search=$2 ntp=$3

# A link is that of a resolver of the image's own, which network-config has told.
if [ -n "$dns" ] && [ ! -L /etc/resolv.conf ]; then
    {
        [ -z "$search" ] || echo "search $search"
        for server in $dns; do echo "nameserver $server"; done
    } >/etc/resolv.conf
fi

[ -n "$ntp" ] || exit 0
for chrony in /etc/chrony/chrony.conf /etc/chrony.conf; do
    [ -e "$chrony" ] || continue
    for server in $ntp; do echo "server $server iburst"; done >>"$chrony"
    systemctl --no-block try-restart chrony.service chronyd.service || :
    exit 0
done
if [ -e /lib/systemd/systemd-timesyncd ]; then
    mkdir -p /etc/systemd/timesyncd.conf.d
    printf '[Time]\nNTP=%s\n' "$ntp" >/etc/systemd/timesyncd.conf.d/vtorque.conf
    systemctl --no-block restart systemd-timesyncd.service || :
    exit 0
fi
echo "vtorque: this image has no time daemon (chrony, systemd-timesyncd): nobody asks $ntp" >>/dev/console
