#!/bin/sh
# Install the job's packages, and nothing that they merely recommend. Standard output is for those that cannot be.
# usage: PACKAGE...
set -eu

installed() { rpm -q "$1" >/dev/null; }
# What could be installed, --assumeno alone hinders; that is told in no other way.
known() { installed "$1" || LC_ALL=C dnf -q --assumeno install "$1" 2>&1 | grep -q 'Operation aborted'; }
without() {
    quality=$1
    shift
    for package; do "$quality" "$package" || echo "$package"; done
}

if dnf -q -y --setopt='*.skip_if_unavailable=False' --setopt=install_weak_deps=False install "$@" >&2; then
    failed=$(without installed "$@")
else
    failed=$(without known "$@")
    failed=${failed:-$*}
fi
[ -z "$failed" ] || { echo "$failed" && exit 1; }
