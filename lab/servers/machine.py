"""A machine of its own for faults that a process cannot have: a wrong clock, no memory left, units that die.

It is Debian's user-mode Linux: a kernel that runs as a process, with its own clock, memory, processor, network card and
systemd. It sees the files of this machine, read-only, and starts no service of it. It needs root, for its network card.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lab.running.server import ScrapeTarget, Server, http_answers
from lab.running.workspace import ROOT, LabError
from lab.servers.node import flags, tell

if TYPE_CHECKING:
    from lab.running.server import Workspace

PROGRAM = "linux.uml"
_MEMORY = 192  # megabytes
# In the order in which they can be loaded: conntrack, and the rule that makes it count.
_MODULES = "nf_defrag_ipv4,nf_defrag_ipv6,nf_conntrack,x_tables,ip_tables,iptable_filter,xt_conntrack"
_BARE = "[Unit]\nDefaultDependencies=no\n"
_STAYS = "OOMScoreAdjust=-900\nRestart=always\nRestartSec=1\n"  # a drill without memory is not about these
_UNITS = {
    "lab.target": "[Unit]\nWants=agent.service node.service dbus.socket\n",
    "agent.service": (
        f"{_BARE}[Service]\n{_STAYS}"
        'ExecStart=/bin/sh -c \'while sleep 0.1; do for f in /run/lab/do/*.sh; do [ -e "$f" ] || continue; '
        'sh "$f" >"$f.out" 2>&1; echo $? >"$f.new"; mv "$f.new" "$f.rc"; rm "$f"; done; done\'\n'
    ),
    "dbus.socket": f"{_BARE}[Socket]\nListenStream=/run/dbus/system_bus_socket\n",
    "dbus.service": (
        f"{_BARE}Requires=dbus.socket\n[Service]\nExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork "
        "--nopidfile --systemd-activation\n"
    ),
}


class Machine(Server):
    """A host of the lab with Debian's node exporter on it, as our guide installs it.

    Args:
        lab: where it runs.
        name: of the host; the node exporter's instance.
        told: commands of deploy/hosts that have run on it before.

    Attributes:
        instance: its name in Prometheus, and its own.
        textfiles: the folder of the textfile collector.
        gateway: the address of this side of its network card.
        cable: two ports of loopback, ours and theirs, that join it to another machine as vec1; None for no cable.
    """

    patience = 90.0

    def __init__(self, lab: Workspace, name: str, *told: str) -> None:
        super().__init__(lab, f"{name}-host")
        self._told = told
        self.instance = name
        port = lab.ports.reserve()  # one number that nobody else has, for a network card and its addresses
        self._card = f"lab{port}"
        first = (port % 16384) * 4  # of 198.18.0.0/16, which is for tests (RFC 2544)
        self.gateway, self.host = (f"198.18.{(first + last) // 256}.{(first + last) % 256}" for last in (1, 2))
        self.port = 9100
        self.target = ScrapeTarget("node", name, self.port, self.host)
        self.cable: tuple[int, int] | None = None
        self._asked = 0

    @property
    def address(self) -> str:
        """The page of its node exporter."""
        return f"http://{self.host}:{self.port}/metrics"

    @property
    def textfiles(self) -> Path:
        """The folder of the textfile collector."""
        return self.directory / "textfiles"

    def prepare(self) -> None:
        """Write its units."""
        shutil.rmtree(self.directory, ignore_errors=True)
        for folder in (self.directory / "units", self.directory / "do", self.textfiles):
            folder.mkdir(parents=True)
        exporter = " ".join(
            each.replace("$", "$$").replace("%", "%%")
            for each in flags(f"{self.host}:{self.port}", "/run/lab/textfiles")
        )
        node = f"{_BARE}[Service]\n{_STAYS}User=prometheus\nExecStart=/usr/bin/prometheus-node-exporter {exporter}\n"
        for name, text in {**_UNITS, "node.service": node}.items():
            (self.directory / "units" / name).write_text(text, encoding="utf-8")
        tell(self._told, self.textfiles)

    def command(self) -> list[str]:
        """Boot a kernel whose root is this machine's, read-only."""
        cards = [f"vec0:transport=tap,ifname={self._card},depth=32"]
        if self.cable:
            ours, theirs = self.cable
            cards.append(
                f"vec1:transport=l2tpv3,udp=1,v6=0,src=127.0.0.1,dst=127.0.0.1,srcport={ours},dstport={theirs},"
                "rx_session=0x1,tx_session=0x1,depth=32"
            )
        return [
            PROGRAM,
            *(f"mem={_MEMORY}M", "rootfstype=hostfs", "rootflags=/", "ro", "con=null", "con0=null,fd:1", "quiet"),
            *(f"init={ROOT}/lab/servers/machine.sh", f"umid={self._card}", f"uml_dir={self.directory}/"),
            *cards,
            *(
                f"LAB={self.directory}",
                f"NAME={self.name}",
                f"SCRIPTS={ROOT}/deploy/hosts",
                f"ADDRESS={self.host}/30",
                f"MODULES={_MODULES}",
            ),
        ]

    def is_ready(self) -> bool:
        """Its node exporter answers; the network card on this side needs an address first."""
        if not Path(f"/sys/class/net/{self._card}").exists():
            return False
        for arguments in (f"address replace {self.gateway}/30 dev {self._card}", f"link set {self._card} up"):
            subprocess.run(["ip", *arguments.split()], check=False, capture_output=True)
        return http_answers(self.address)

    def stop(self) -> None:
        """Cut the power: nothing on it has to be saved."""
        self.kill()

    def run(self, script: str) -> str:
        """Run a shell script on it as root; return what it prints. Raises LabError if it fails or takes too long."""
        self._asked += 1
        file = self.directory / "do" / f"{self._asked}.sh"
        new, code, out = (file.with_name(file.name + suffix) for suffix in (".writing", ".rc", ".out"))
        new.write_text(f"set -e\n{script}\n", encoding="utf-8")
        new.rename(file)
        deadline = time.monotonic() + self.patience
        while not code.exists():
            if time.monotonic() > deadline or self.crashed:
                raise LabError(f"{self.name} did not do {shlex.quote(script)}")
            time.sleep(0.05)
        said = out.read_text(encoding="utf-8")
        if code.read_text(encoding="utf-8").strip() != "0":
            raise LabError(f"{self.name}: {script}: {said}")
        return said


def lacking() -> str | None:
    """Say why there can be no such machine here; None if there can."""
    if shutil.which(PROGRAM) is None:
        return f"there is no {PROGRAM}; on Debian: apt-get install user-mode-linux kmod"
    return None if os.geteuid() == 0 else "a network card for it takes root"
