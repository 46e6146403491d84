#!/usr/bin/env bash
# Say which Debian/Ubuntu packages are missing, and install them where that is allowed without asking.
#   tools/system_packages.sh PYTHON          what the set-up needs; fails if something stays missing
#   tools/system_packages.sh --optional      what single tests need (a browser, a false clock); never fails
set -euo pipefail

library() { PATH=$PATH:/sbin:/usr/sbin ldconfig -p | grep -qF "$1 "; }
program() { command -v "$1" >/dev/null; }
missing=()
need() { # package, probe...
    local package=$1
    shift
    "$@" || missing+=("$package")
}

if [ "$1" = --optional ]; then
    # Ubuntu's chromium is a snap, which a container cannot run; any other browser of the family will do.
    program chromium || program chromium-browser || program google-chrome || missing+=(chromium)
    need faketime program faketime
else
    need cmake program cmake
    need ninja-build program ninja
    need g++ program g++
    need libegl1 library libEGL.so.1
    need libgl1 library libGL.so.1
    need libopengl0 library libOpenGL.so.0
    need libgl1-mesa-dri compgen -G '/usr/lib/*/dri/*_dri.so' >/dev/null
    need libglib2.0-0 library libgthread-2.0.so.0
    need libusb-1.0-0 library libusb-1.0.so.0
    need python3-venv "$1" -c 'import ensurepip'
    need python3-dev "$1" -c 'import pathlib, sysconfig; assert pathlib.Path(sysconfig.get_path("include"), "Python.h").exists()'
fi 2>/dev/null

[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" = 0 ]; then
    as_root=()
elif sudo -n true 2>/dev/null; then
    as_root=(sudo)
else
    echo "missing system packages; please run:  sudo apt-get install ${missing[*]}" >&2
    [ "$1" = --optional ]
    exit
fi
echo "installing system packages: ${missing[*]}"
"${as_root[@]}" apt-get update -qq || true
for package in "${missing[@]}"; do # one by one: an unknown name does not keep the others away
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" || {
        echo "could not install $package" >&2
        [ "$1" = --optional ]
    }
done
