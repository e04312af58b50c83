#!/usr/bin/env bash
# Makes this machine ready for `make demo` and `make test`: Debian's packages (only as root on Debian) and .venv.
# It changes nothing that is there already, starts no service, and does nothing the second time.
#
# Usage: lab/install.sh demo      the servers must be there
#        lab/install.sh test      without them, say what to install and go on; as root or in CI they must be there
#        lab/install.sh lint      .venv, and promtool if it is available
#        lab/install.sh missing   only print which of the servers' programs are missing, one a line
set -euo pipefail
cd "$(dirname "$0")/.."

# What the lab runs: program, Debian packages. All of it is in Debian 12, but for Prosody 13, which is in its backports.
programs="
prosody     prosody
prometheus  prometheus
promtool    prometheus
amtool      prometheus-alertmanager
prometheus-alertmanager prometheus-alertmanager
haproxy     haproxy
turnserver  coturn
postgres    postgresql
prometheus-node-exporter prometheus-node-exporter
linux.uml   user-mode-linux kmod
prometheus-postgres-exporter prometheus-postgres-exporter
setpriv     util-linux
systemd-analyze systemd
lua-dbi-postgresql lua-dbi-postgresql
"
# What the runbooks' commands use, a compiler for a clock that can be set, two firewalls, and HTTP/2 that is not ours; the demo needs
# none of them.
tools="
curl        curl
jq          jq
openssl     openssl
socat       socat
ss          iproute2
telnet      telnet
top         procps
cc          gcc libc6-dev
nft         nftables
iptables    iptables
logrotate   logrotate
rsyslogd    rsyslog
vmalert     victoria-metrics
keepalived  keepalived
apt_info.py prometheus-node-exporter-collectors
nginx       nginx-light
nghttpd     nghttp2-server
nghttpx     nghttp2-proxy
node        nodejs
nsd         nsd
"
venv=.venv

say() { printf '==> %s\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }

# --- What is missing ---------------------------------------------------------------------------------------------

# Prosody's start script says where its files are, and one of them is the version. (Asking `prosody --version` starts it.)
prosody_is_13() {
    local script source version=
    script=$(command -v "${PROSODY:-prosody}") || return 1
    source=$(sed -n "s/^CFG_SOURCEDIR='\(.*\)'.*/\1/p" "$script")
    read -r version 2>/dev/null <"$source/prosody.version" || true
    [[ $version == 13.* ]]
}

is_there() {
    case $1 in
        prosody) prosody_is_13 ;;
        postgres) command -v postgres || command -v pg_ctlcluster ;; # Debian keeps the first off PATH
        lua-dbi-postgresql) lua5.4 -e 'require "dbd.postgresql"' 2>/dev/null ;; # no program but a library of Prosody's Lua
        prometheus-alertmanager) command -v "$1" || command -v alertmanager ;;
        prometheus-node-exporter) command -v "$1" || command -v node_exporter ;;
        apt_info.py) [[ -e /usr/share/prometheus-node-exporter-collectors/$1 ]] ;;
        prometheus-postgres-exporter) command -v "$1" || command -v postgres_exporter ;;
        *) command -v "$1" ;;
    esac
} >/dev/null

missing_programs() {
    local program package
    while read -r program package; do
        [[ -z $program ]] || is_there "$program" || echo "$program"
    done <<<"$programs"
}

packages_of() { # PROGRAM...
    local program
    for program in "$@"; do awk -v program="$program" '$1 == program { for (i = 2; i <= NF; i++) print $i }' <<<"$programs"; done | sort -u
}

# A package that is there but too old serves somebody: it is not ours to upgrade.
not_installed() { # PACKAGE...
    local package
    for package in "$@"; do dpkg-query -s "$package" >/dev/null 2>&1 || echo "$package"; done
}

# --- Debian's packages -------------------------------------------------------------------------------------------

# shellcheck disable=SC1091 # a file of the system
release() { (. /etc/os-release 2>/dev/null && echo "${ID:-} ${VERSION_CODENAME:-}") || true; }
on_debian() { [[ $(release) == "debian "* ]] && command -v apt-get >/dev/null; }
as_root() { [[ $(id -u) == 0 ]]; }

codename=$(release | cut -d' ' -f2)
backports_file=/etc/apt/sources.list.d/$codename-backports.sources
# A source for the backports, at the mirror that this machine has the release itself from.
backports() {
    local mirror=
    # shellcheck disable=SC2016 # for apt to expand
    read -r mirror < <(apt-get indextargets --format '$(REPO_URI)' "Codename: $codename" 'Created-By: Packages' 2>/dev/null) ||
        fail "apt has no source for Debian $codename; configure one"
    printf '%s\n' 'Types: deb' "URIs: $mirror" "Suites: $codename-backports" 'Components: main' \
        'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg'
}

offers_prosody_13() { apt-cache madison prosody 2>/dev/null | awk '$3 ~ /^13\./ { found = 1 } END { exit !found }'; }
# shellcheck disable=SC2016 # for apt to expand
has_backports() { apt-get indextargets --format '$(RELEASE)' 2>/dev/null | grep -qx "$codename-backports"; }
can_install() { # PACKAGE...
    local package
    for package in "$@"; do
        if [[ $package == prosody ]]; then
            offers_prosody_13 || return 1
        else
            [[ -n $(apt-cache madison "$package" 2>/dev/null) ]] || return 1
        fi
    done
}

say_what_to_install() { # PROGRAM...
    echo "Missing on this machine: $* (Prosody must be 13.0.x; one that is not on PATH can be named with PROSODY=...)."
    if on_debian; then
        local packages
        packages=$(packages_of "$@" | sed /^prosody$/d | tr '\n' ' ')
        echo "Install as root, or run the same make command as root:"
        if [[ " $* " == *" prosody "* ]]; then
            if ! offers_prosody_13 && ! has_backports; then
                echo "    cat >$backports_file <<END"
                backports
                echo "END"
            fi
            echo "    apt-get update"
            echo "    apt-get install --no-install-recommends -t $codename-backports prosody"
        fi
        [[ -z $packages ]] || echo "    apt-get install --no-install-recommends $packages"
    else
        echo "This is not Debian, so install them your own way and put them on PATH:"
        echo "    Prosody 13.0.x   https://prosody.im/download/"
        echo "    Prometheus       https://prometheus.io/download/ (its archive holds promtool too)"
        echo "    Alertmanager, postgres_exporter: as alertmanager and postgres_exporter"
        echo "    HAProxy 2.6+, coturn 4.6+, PostgreSQL 15+, and LuaDBI with its PostgreSQL driver for Lua 5.4"
        echo "    For the tests also curl, jq, openssl, socat, ss, telnet, top, nft and iptables"
    fi
}

# Installs without starting: a policy-rc.d that says no, if the machine has none of its own, and no start at boot either.
apt_install() { # [-t RELEASE] PACKAGE...
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 ||
        { tail -n 20 "$log" >&2; fail "apt-get could not install $*; its last lines are above; fix that and run this again"; }
}

install_packages() { # PACKAGE...
    local package policy=/usr/sbin/policy-rc.d
    scratch=$(mktemp -d)
    log=$scratch/log
    remove_policy=
    trap 'rm -rf "$scratch" $remove_policy' EXIT
    if ! can_install "$@"; then
        if [[ " $* " == *" prosody "* ]] && ! offers_prosody_13 && ! has_backports && [[ $codename == bookworm ]]; then
            say "Adding Debian's backports, which have Prosody 13: $backports_file"
            local source
            source=$(backports)
            printf '%s\n' "$source" >"$backports_file"
        fi
        say "Updating the package lists"
        apt-get update -qq >"$log" 2>&1 || { cat "$log" >&2; fail "apt-get update failed; see above"; }
        can_install "$@" || fail "no configured package source offers all of: $* (Prosody must be 13.0.x)"
    fi
    say "Installing Debian's $* (their services are not started, neither now nor at boot)"
    if [[ ! -e $policy ]]; then
        remove_policy=$policy
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    for package in "$@"; do
        if [[ $package == prosody ]] && has_backports; then
            apt_install -t "$codename-backports" prosody
        else
            apt_install "$package"
        fi
        # A machine without systemctl, as containers are, starts none at boot.
        if command -v systemctl >/dev/null && [[ -e /lib/systemd/system/$package.service ]]; then
            systemctl disable "$package" >"$log" 2>&1 || { cat "$log" >&2; fail "could not disable the service $package"; }
        fi
    done
    rm -rf "$scratch" $remove_policy
    trap - EXIT
}

# --- Python ------------------------------------------------------------------------------------------------------

python=${PYTHON:-python3}
python_is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# What Python needs from Debian: the interpreter itself, or the part that makes environments.
python_packages() {
    if ! command -v "$python" >/dev/null; then
        echo python3 python3-venv
    elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo python3-venv
    fi
}

make_venv() {
    local stamp
    stamp=$(cat requirements.lock pyproject.toml "$0" | sha256sum)
    if [[ -f $venv/installed && $(<"$venv/installed") == "$stamp" ]] && "$venv/bin/python" -c '' 2>/dev/null; then return; fi
    if ! python_is_new_enough "$venv/bin/python"; then
        say "Creating $venv with $("$python" --version)"
        "$python" -m venv --clear "$venv"
    fi
    say "Installing $(grep -c '==' requirements.lock) locked Python packages into $venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock ||
        fail "pip could not install requirements.lock; see above, then run this again"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . ||
        fail "pip could not install this project; see above"
    printf '%s\n' "$stamp" >"$venv/installed"
}

# --- The set-up --------------------------------------------------------------------------------------------------

purpose=${1:?demo, test, lint or missing}
if [[ $purpose == test ]]; then programs+=$tools; fi
mapfile -t missing < <(missing_programs)
if [[ $purpose == missing ]]; then missing_programs; exit; fi

read -ra wanted < <(python_packages; echo)
if as_root && on_debian; then
    mapfile -t packages < <(packages_of "${missing[@]}")
    mapfile -t packages < <(not_installed "${wanted[@]}" "${packages[@]}")
    if ((${#packages[@]})); then install_packages "${packages[@]}"; fi
    mapfile -t missing < <(missing_programs)
fi

command -v "$python" >/dev/null || fail "$python is not there; install Python 3.11 or newer (on Debian: apt-get install python3 python3-venv)"
python_is_new_enough "$python" || fail "$python is $("$python" --version 2>&1), but 3.11 or newer is needed; name one with PYTHON=..."
[[ -z $(python_packages) ]] || fail "$python cannot make virtual environments (on Debian: apt-get install python3-venv)"

if ((${#missing[@]})); then
    say_what_to_install "${missing[@]}" >&2
    if [[ $purpose == demo ]]; then fail "the demo runs these servers, so it cannot start"; fi
    if as_root || [[ ${CI:-} == true ]]; then fail "as root or in CI nothing may be left out"; fi
fi
make_venv
