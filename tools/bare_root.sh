#!/usr/bin/env bash
# Runs demo and tests as a stranger would: a clone of this repository in a Debian 12 that has nothing else installed.
# As root; debootstrap, chroot.  The root lies in a temporary folder (2 GB with all packages) and goes away at the end.
set -euo pipefail
cd "$(dirname "$0")/.."

usage="usage: tools/bare_root.sh demo      ./demo.sh
       tools/bare_root.sh quick     ./demo.sh and ./test.sh quick
       tools/bare_root.sh whole     ./demo.sh and ./test.sh

\$KL_MIRROR is the Debian archive to install from (http://deb.debian.org/debian); \$TMPDIR is where the root is made (/var/tmp).
apt inside of it takes the proxies of the environment and of this machine's apt.  What is run is the last commit."

fail() {
  echo "bare_root.sh: $1" >&2
  exit "$2"
}

case ${1:-} in
  demo) commands=(./demo.sh) ;;
  quick) commands=(./demo.sh "./test.sh quick") ;;
  whole) commands=(./demo.sh ./test.sh) ;;
  -h | --help) echo "$usage"; exit 0 ;;
  *) fail "${1:-no argument}: expected demo, quick or whole (see --help)" 2 ;;
esac
((EUID == 0)) || fail "expected to be run by root, who alone may make a root and enter it: sudo $0 $1" 2
command -v debootstrap >/dev/null || fail "debootstrap: expected to be installed, got none: apt-get install debootstrap" 2
[[ -z $(git status --porcelain) ]] || echo "bare_root.sh: what is not committed is not run" >&2

root=$(mktemp -d "${TMPDIR:-/var/tmp}/kl-bare-root.XXXXXX")
trap 'rm -rf --one-file-system "$root"' EXIT   # what is mounted in it, is so in namespaces that are gone by then
trap 'exit 130' INT TERM

echo "making a bare Debian 12 in $root"
unshare --mount debootstrap --variant=minbase bookworm "$root" "${KL_MIRROR:-http://deb.debian.org/debian}" >"$root.log" 2>&1 ||
  fail "debootstrap failed: $(tail -n 3 "$root.log") (all of it: $root.log)" 1
rm "$root.log"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
apt-config dump | grep -i '^Acquire::https\?::proxy' >"$root/etc/apt/apt.conf.d/90proxy" || true
git clone --quiet --no-hardlinks . "$root/kl"

# A process that ends takes all of its namespace along, so nothing is left running or mounted whatever happens.
inside() {
  # shellcheck disable=SC2016
  unshare --mount --pid --fork --kill-child bash -c '
    root=$1
    mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" && mount -t tmpfs tmpfs "$root/dev/shm" || exit
    exec env -i HOME=/root TERM="${TERM:-dumb}" PATH=/usr/sbin:/usr/bin:/sbin:/bin \
      http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" no_proxy="${no_proxy:-}" \
      chroot "$root" bash -c "cd /kl && exec $2"' bash "$root" "$1"
}

for command in "${commands[@]}"; do
  echo
  echo "\$ $command"
  inside "$command" || fail "$command failed in a bare Debian 12" 1
done
echo
echo "a bare Debian 12 ran: ${commands[*]}"
