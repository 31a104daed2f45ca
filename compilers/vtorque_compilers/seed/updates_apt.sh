#!/bin/sh
# Install security updates and nothing else, from the sources that the image names. No network, no boot: it is not hidden.
set -eu

# Of two priorities that match, the first is taken. What is neither installed nor of a security archive serves new
# packages alone, which updates may need.
preferences=$(mktemp)
cat >"$preferences" <<'END'
Package: *
Pin: release l=Debian-Security
Pin-Priority: 500

Package: *
Pin: release a=*-security
Pin-Priority: 500

Package: *
Pin: release a=now
Pin-Priority: 100

Package: *
Pin: release a=*
Pin-Priority: 50
END
# apt drops its rights to read this.
chmod 0644 "$preferences"
export DEBIAN_FRONTEND=noninteractive
apt-get -q -o APT::Update::Error-Mode=any update
apt-get -q -y -o Dir::Etc::Preferences="$preferences" -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dpkg::Options::=--force-confold upgrade --with-new-pkgs
rm -f "$preferences"
