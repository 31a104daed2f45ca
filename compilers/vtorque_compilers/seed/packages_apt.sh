#!/bin/sh
# Install the job's packages, and nothing that they merely recommend. Standard output is for those that cannot be.
# usage: PACKAGE...
set -eu
export DEBIAN_FRONTEND=noninteractive

# No name is a pattern. (One that ends in + may stand for the package without it, which `installed` finds out.)
get() { apt-get -q -y --no-install-recommends -o APT::Cmd::Pattern-Only=true "$@" >&2; }
installed() { dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }
known() { get -s install "$1" 2>/dev/null; }
without() {
    quality=$1
    shift
    for package; do "$quality" "$package" || echo "$package"; done
}

if get -o APT::Update::Error-Mode=any update && get install "$@"; then
    failed=$(without installed "$@")
else
    failed=$(without known "$@")
    failed=${failed:-$*}
fi
[ -z "$failed" ] || { echo "$failed" && exit 1; }
