#!/usr/bin/env bash
# Prints the Prosody that the demo runs: PROSODY if it is set; the installed one if it is 13.0.4 or newer, which Section
# 20 A of the specification demands; otherwise a newer one that Debian has. If there is none, it is the installed one.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ -n ${PROSODY:-} ]]; then echo "$PROSODY" && exit; fi
installed=$(command -v prosody)
source=$(sed -n "s/^CFG_SOURCEDIR='\(.*\)'.*/\1/p" "$installed")
read -r version 2>/dev/null <"$source/prosody.version" || version=0
if [[ $(printf '%s\n' 13.0.4 "$version" | sort -V | head -n 1) == 13.0.4 ]]; then echo "$installed" && exit; fi
echo "==> Prosody $version is older than 13.0.4: fetching a newer one into .versions (the installed one stays)" >&2
if newer=$(lab/versions.sh trixie-backports prosody lua-dbi-postgresql); then
    echo "$newer/prosody"
else
    echo "==> The demo runs the installed Prosody $version" >&2
    echo "$installed"
fi
