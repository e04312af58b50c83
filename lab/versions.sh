#!/usr/bin/env bash
# Unpacks packages of another Debian suite beside the system, ready to run. It installs nothing and leaves apt as it is.
#
# Usage: lab/versions.sh SUITE PACKAGE...        print the directory with their programs, such as .versions/sid/bin
#        lab/versions.sh --which SUITE PACKAGE   only print the version that the suite has
#
# The packages come with every library they need, the C library too. A second call downloads only what is newer.
# The environment variable VERSIONS names another directory than .versions. For example, with Prosody of sid:
#     PROSODY=$(lab/versions.sh sid prosody lua-dbi-postgresql)/prosody make demo
set -euo pipefail

fail() { printf 'versions: %s\n' "$*" >&2; exit 1; }

which=
if [[ ${1:-} == --which ]]; then which=yes && shift; fi
(($# > 1)) || fail "name a suite and packages: lab/versions.sh sid prosody"
suite=$1
shift
for program in apt-get dpkg-deb flock; do
    command -v "$program" >/dev/null || fail "$program is not here, and other versions come as packages of Debian"
done

cd "$(dirname "$0")/.."
mkdir -p "${VERSIONS:-.versions}/$suite"
home=$(cd "${VERSIONS:-.versions}/$suite" && pwd)
root=$home/root
bin=$home/bin
mkdir -p "$home/lists/partial" "$home/cache/archives/partial" "$home/unpacked" "$root" "$bin"
exec 9>"$home/lock"
flock 9

# --- Download ----------------------------------------------------------------------------------------------------

# shellcheck disable=SC2016 # for apt to expand
read -r mirror < <(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null) ||
    fail "apt has no source for Debian; configure one"
suites=("$suite")
if [[ $suite == *-backports ]]; then suites=("${suite%-backports}" "$suite"); fi # backports build on their release
for each in "${suites[@]}"; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $each main"
done >"$home/list"
options=(-o "Dir::Etc::sourcelist=$home/list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$home/lists"
    -o "Dir::State::status=$home/status" -o "Dir::Cache=$home/cache")
log=$home/log
touch "$home/status" # of a system with nothing installed, so that every dependency comes, too
with_apt() { "$1" "${options[@]}" "${@:2}"; }

if [[ -z $(find "$home/updated" -mmin -720 2>/dev/null) ]]; then
    with_apt apt-get update -qq >"$log" 2>&1 || fail "no package lists of Debian's $suite: $(tail -n 1 "$log")"
    touch "$home/updated"
fi
for package in "$@"; do
    version=$(with_apt apt-cache madison "$package" | awk '{ print $3; exit }') # the newest one first
    [[ -n $version ]] || fail "Debian's $suite has no $package"
    if [[ -n $which ]]; then echo "$version" && exit; fi
done
release=()
if [[ $suite == *-backports ]]; then release=(-t "$suite"); fi
# patchelf points a program to the libraries beside it.
with_apt apt-get install -y -qq --download-only --no-install-recommends "${release[@]}" "$@" patchelf >"$log" 2>&1 ||
    fail "$* of Debian's $suite cannot be downloaded: $(tail -n 1 "$log")"
with_apt apt-get autoclean -qq >"$log" 2>&1 # removes what a newer version replaced

# --- Unpack ------------------------------------------------------------------------------------------------------

cd "$home/cache/archives"
for archive in *.deb; do
    [[ -e $home/unpacked/$archive ]] || echo "$archive"
done | xargs -r -P 2 -I DEB sh -c 'dpkg-deb -x "$1" "$2" && touch "$3/$1"' sh DEB "$root" "$home/unpacked"

loader=$(find "$root" -path '*lib*' -name 'ld-linux*.so.*' -print -quit)
libraries=
for folder in "$root"/usr/lib/*-linux-gnu* "$root"/lib/*-linux-gnu*; do
    if [[ -d $folder ]]; then libraries+=${libraries:+:}$folder; fi
done
patchelf() { "$loader" --library-path "$libraries" "$root/usr/bin/patchelf" "$@"; }
patch() { # PROGRAM: let it use the C library and the libraries of its suite; a script or a static program stays as it is
    local interpreter
    interpreter=$(patchelf --print-interpreter "$1" 2>/dev/null) || return 0
    [[ $interpreter != "$loader" ]] || return 0
    patchelf --force-rpath --set-rpath "$libraries" --output "$1.new" "$1"
    patchelf --set-interpreter "$loader" "$1.new" # the other way round Python crashes
    mv "$1.new" "$1"
}
source_of() { # ARCHIVE: the source package it was built from
    local source
    source=$(dpkg-deb --field "$1" Source)
    [[ -n $source ]] || source=$(dpkg-deb --field "$1" Package)
    echo "${source%% *}"
}
sources=" lua5.4 " # Prosody's interpreter
for package in "$@"; do sources+="$(source_of "${package}_"*.deb) "; done
for archive in *.deb; do # a program may be in another package of the same source
    [[ $sources == *" $(source_of "$archive") "* ]] || continue
    while read -r file; do
        program=$root/${file#./}
        if [[ ! -x $program || $program == */prosody ]]; then continue; fi
        if [[ ! -L $program ]]; then patch "$program"; fi
        ln -sf "$program" "$bin/${file##*/}"
    done < <(dpkg-deb -c "$archive" | awk '$6 ~ /^\.\/(usr\/)?s?bin\/./ { print $6 }')
done
if [[ -e $root/usr/bin/prosody ]]; then # a Lua script that names its files
    sed -i "s|='/usr/lib|='$root/usr/lib|" "$root/usr/bin/prosody"
    { # install.sh reads the version from CFG_SOURCEDIR
        echo '#!/bin/sh'
        echo "CFG_SOURCEDIR='$root/usr/lib/prosody'"
        echo "export LUA_PATH='$root/usr/share/lua/5.4/?.lua;$root/usr/share/lua/5.4/?/init.lua'"
        echo "export LUA_CPATH='$(compgen -G "$root/usr/lib/*/lua/5.4")/?.so'"
        echo "exec '$bin/lua5.4' '$root/usr/bin/prosody' \"\$@\""
    } >"$bin/prosody"
    chmod +x "$bin/prosody"
fi
echo "$bin"
