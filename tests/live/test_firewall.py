"""The firewall units admit the monitoring host alone and leave every other rule of the host as it is.

Each test runs the commands of a unit file in a network namespace of its own, with rules of the host already loaded.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from lab.running.workspace import ROOT

if TYPE_CHECKING:
    from pathlib import Path

UNITS: Final = ROOT / "deploy/systemd"
NFT, IPTABLES = "commeazy-firewall", "commeazy-firewall-iptables"
# What the host has before we come: a table of nft, and a policy and a rule of iptables in both families.
FOREIGN: Final = """
nft 'add table inet foreign; add chain inet foreign input { type filter hook input priority 0; }'
nft add rule inet foreign input tcp dport 12345 drop
for tool in iptables ip6tables; do
    $tool -A INPUT -p tcp --dport 54321 -j DROP
    $tool -A INPUT -i lo -j ACCEPT
    $tool -P FORWARD DROP
done
"""
FOREIGN_RULES: Final = (
    "nft list table inet foreign; iptables-save | grep -c 54321; ip6tables-save | grep -c 54321; iptables -S FORWARD"
)
# A second namespace on a cable: it plays the monitoring host or a stranger, depending on the address it asks from.
CABLE: Final = """
ip link set lo up
unshare --net sleep 30 & peer=$!
while [ "$(readlink /proc/$peer/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
ip link add here type veth peer name there netns $peer
there() { nsenter --net=/proc/$peer/ns/net "$@"; }
ip address add 10.0.1.1/24 dev here; ip address add fd00::1/64 dev here nodad; ip link set here up
for address in 10.0.1.50/24 10.0.1.99/24; do there ip address add $address dev there; done
for address in fd00::50/64 fd00::99/64; do there ip address add $address dev there nodad; done
there ip link set there up
"""
LISTEN: Final = """
import socket, sys, time
servers = [socket.create_server(("::", int(p)), family=socket.AF_INET6, dualstack_ipv6=True) for p in sys.argv[1:]]
print("listening", flush=True)
time.sleep(30)
"""
# Prints the connections that come about, one a line: from where, and to which port.
CONNECT: Final = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
def connect(pair):
    try:
        socket.create_connection((pair[0], int(pair[1])), timeout=2, source_address=(pair[2], 0)).close()
    except OSError:
        return ""
    return f"{pair[2]} {pair[1]}\\n"
words = sys.argv[1:]
with ThreadPoolExecutor(32) as pool:
    print("".join(pool.map(connect, zip(words[::3], words[1::3], words[2::3]))))
"""


def commands(unit: str, setting: str, folder: Path) -> str:
    """Return the commands that a unit runs, with its files in `folder`."""
    lines = re.findall(rf"^{setting}=(.+)$", (UNITS / f"{unit}.service").read_text(), re.MULTILINE)
    assert lines, f"{unit} has no {setting}"
    return "\n".join(lines).replace("/etc/commeazy-firewall/", f"{folder}/") + "\n"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Install the files of both firewalls as docs/install.md does, with a monitoring host that has two addresses."""
    nft = (ROOT / "deploy/nftables/commeazy-monitoring.nft").read_text()
    (tmp_path / "rules.nft").write_text(nft.replace("2001:db8::50", "fd00::50"))
    script = (ROOT / "deploy/iptables/commeazy-monitoring.sh").read_text()
    (tmp_path / "rules.sh").write_text(script.replace("\nmonitoring6=\n", "\nmonitoring6=fd00::50\n"))
    return tmp_path


def isolated(script: str, folder: Path) -> str:
    """Run a script of bash in a network namespace of its own; return what it printed."""
    done = subprocess.run(
        ["unshare", "--net", "--fork", "--kill-child", "bash", "-euc", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("unit", [NFT, IPTABLES])
def test_loading_reloading_and_stopping_leaves_the_rules_of_the_host(unit: str, installed: Path) -> None:
    before, loaded, reloaded, stopped = (
        part.strip()
        for part in isolated(
            FOREIGN
            + f"{FOREIGN_RULES}; echo ---\n"
            + f"{commands(unit, 'ExecStart', installed)}{FOREIGN_RULES}; echo ---\n"
            + f"{commands(unit, 'ExecReload', installed)}{FOREIGN_RULES}; echo ---\n"
            + f"{commands(unit, 'ExecStop', installed)}{FOREIGN_RULES}",
            installed,
        ).split("---")
    )
    assert "12345" in before
    assert before == loaded == reloaded == stopped


@pytest.mark.parametrize("unit", [NFT, IPTABLES])
def test_nothing_of_ours_is_twice_after_a_reload_and_nothing_is_left_after_a_stop(unit: str, installed: Path) -> None:
    rules = "nft list ruleset | grep -v '^#' || true"
    start, stop = commands(unit, "ExecStart", installed), commands(unit, "ExecStop", installed)
    once, again, gone = isolated(
        f"{start}{rules}; echo ---\n{commands(unit, 'ExecReload', installed)}{rules}; echo ---\n{stop}{stop}{rules}",
        installed,
    ).split("---")
    assert "9641" in once
    assert once.split() == again.split()
    assert "9641" not in gone
    assert "commeazy" not in gone.lower()


def test_debians_own_configuration_of_nftables_would_remove_the_rules_of_the_host(tmp_path: Path) -> None:
    """The reason for a unit of our own, and the proof that these tests would notice a flush."""
    ruleset = "/etc/nftables.conf"
    left = isolated(f"{FOREIGN}\nsed 1d {ruleset} | nft -f -\nnft list ruleset; iptables-save", tmp_path)
    assert "12345" not in left
    assert "54321" not in left


@pytest.mark.parametrize("unit", [NFT, IPTABLES])
def test_the_monitoring_host_reaches_the_metrics_by_both_protocols_and_nobody_reaches_the_push_port(
    unit: str, installed: Path
) -> None:
    ports = (9871, 9641, 5281, 8080)
    hosts = {"10.0.1.50": "10.0.1.1", "10.0.1.99": "10.0.1.1", "fd00::50": "fd00::1", "fd00::99": "fd00::1"}
    (installed / "listen.py").write_text(LISTEN)
    (installed / "connect.py").write_text(CONNECT)
    words = " ".join(f"{server} {port} {client}" for client, server in hosts.items() for port in ports)
    script = (
        f"{CABLE}python3 listen.py {' '.join(map(str, ports))} >listening & server=$!\n"
        "trap 'kill $peer $server' EXIT\nuntil grep -q listening listening; do sleep 0.02; done\n"
        f"{commands(unit, 'ExecStart', installed)}there python3 connect.py {words}"
    )
    reached = set(isolated(script, installed).splitlines()) - {""}
    everybody = {f"{client} 8080" for client in hosts}
    assert reached == everybody | {f"{client} {port}" for client in ("10.0.1.50", "fd00::50") for port in (9871, 9641)}


@pytest.mark.parametrize("unit", [NFT, IPTABLES])
def test_systemd_accepts_the_unit_and_loads_it_again_after_a_flush_by_the_hosts_firewall(
    unit: str, tmp_path: Path
) -> None:
    copy = tmp_path / f"{unit}.service"
    copy.write_text((UNITS / f"{unit}.service").read_text())
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    host = "nftables.service" if unit == NFT else "netfilter-persistent.service"
    for line in (f"After={host}", f"PartOf={host}", f"ReloadPropagatedFrom={host}", f"WantedBy=sysinit.target {host}"):
        assert line in copy.read_text().splitlines()
