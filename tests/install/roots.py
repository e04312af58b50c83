"""Makes the throw-away Debian roots and the network between them; knows nothing of the guide.

All of it lives in the mount and PID namespaces that `make try-install` gives us: memory for disks, nothing of the
machine's is bound or changed, and the kernel takes everything away when we end, however we end.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DISK: Final = Path("/mnt")  # in our mount namespace: a tmpfs
STRANGER: Final = "stranger"
NODE_ADDRESS, MONITORING_ADDRESS = "10.77.1.1", "10.77.1.2"
# Each pair of namespaces has a cable of its own; the first address is the first one's.
CABLES: Final = (
    (("node", NODE_ADDRESS), ("monitoring", MONITORING_ADDRESS)),
    (("node", "10.77.2.1"), (STRANGER, "10.77.2.2")),
    (("monitoring", "10.77.3.1"), (STRANGER, "10.77.3.2")),
)
_BASE_PACKAGES: Final = "ca-certificates,curl,hostname,openssl,procps"
_ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}


class TrialError(Exception):
    """Something did not do what the guide says: what, and what it printed."""


def run(*command: str | Path, text: str | None = None) -> str:
    """Run a command of this machine; return what it printed.

    Raises:
        TrialError: it ended with another code than 0.
    """
    done = subprocess.run(
        [str(part) for part in command], input=text, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        shown = " ".join(str(part) for part in command)
        raise TrialError(f"{shown[:200]} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


@dataclass(frozen=True)
class Root:
    """A Debian in a directory, in a network namespace and with a host name of its own.

    Args:
        name: of the network namespace.
        hostname: what `hostname` says there.
    """

    name: str
    hostname: str

    @property
    def path(self) -> Path:
        """Its files, from outside."""
        return DISK / self.name

    def run(self, script: str, *, online: bool = False) -> str:
        """Run lines of bash in it, as root; return what they printed.

        Args:
            script: ends at the first command that fails.
            online: with this machine's network in place of its own, for apt.
        """
        network = () if online else ("ip", "netns", "exec", self.name)
        inside = ("chroot", str(self.path), "env", "-i", *(f"{k}={v}" for k, v in _ENVIRONMENT.items()))
        named = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.hostname)
        return run(*network, *named, *inside, "bash", "-euo", "pipefail", text=script)

    def install(self, *packages: str) -> None:
        """Install Debian packages; their services are not started."""
        self.run(f"apt-get install -y -qq --no-install-recommends {' '.join(packages)} 2>&1", online=True)


def make_disk() -> None:
    """Put memory where the roots go, and where `ip netns` keeps its names."""
    for folder in (Path("/run"), DISK):
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)


def make_network() -> None:
    """Make the three network namespaces and the cables between them; none has a way out."""
    for name in ("node", "monitoring", STRANGER):
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
    for (one, its), (other, others) in CABLES:
        run("ip", "link", "add", other, "netns", one, "type", "veth", "peer", "name", one, "netns", other)
        for name, peer, address in ((one, other, its), (other, one, others)):
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", peer)
            run("ip", "-n", name, "link", "set", peer, "up")


def make_base() -> Path:
    """Bootstrap a minimal Debian from the sources that this machine has; return its directory."""
    base = DISK / "base"
    asked = "$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)"
    offered = run("apt-get", "indextargets", "--format", asked, "Created-By: Packages").splitlines()
    sources = [" ".join(line.split()[:3]) for line in offered if line.split()[3:4] == ["Debian"]]
    codename = min((line.split()[1] for line in sources), key=len)
    mirror = next(line.split()[0] for line in sources if line.split()[1] == codename)
    run("debootstrap", "--variant=minbase", f"--include={_BASE_PACKAGES}", codename, base, mirror)
    lines = sorted({f"deb {line}" for line in sources})
    (base / "etc/apt/sources.list").write_text("\n".join(lines) + "\n")
    proxies = [line for line in run("apt-config", "dump").splitlines() if line.startswith("Acquire::http")]
    (base / "etc/apt/apt.conf.d/99machine").write_text("\n".join(proxies) + "\n")
    shutil.copy("/etc/resolv.conf", base / "etc/resolv.conf")
    policy = base / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    player = base / "usr/local/bin/systemctl"
    shutil.copy(Path(__file__).with_name("systemctl.py"), player)
    player.chmod(0o755)
    return base


def make_root(base: Path, name: str, hostname: str, hosts: dict[str, str]) -> Root:
    """Copy the base into a root with these names of other hosts."""
    root = Root(name, hostname)
    run("cp", "-a", base, root.path)
    (root.path / "etc/hosts").write_text("".join(f"{address} {names}\n" for names, address in hosts.items()))
    run("mount", "-t", "proc", "proc", root.path / "proc")
    root.run("apt-get update -qq", online=True)
    return root


def last_words() -> str:
    """Return the last lines of every played unit that does not run (any more): why, if it should."""
    words = []
    for file in sorted(DISK.glob("*/run/units/*.pid")):
        if not Path(f"/proc/{file.read_text()}/exe").exists():  # a zombie has none
            said = file.with_suffix(".log").read_text(errors="replace").splitlines()[-3:]
            words += [f"{file.parts[2]}: {file.stem} does not run; its last lines:", *(f"    {line}" for line in said)]
    return "\n".join(words)


def reach(name: str, url: str) -> bool:
    """Tell whether an HTTP server answers a network namespace, with a page or with the question for a password."""
    command = ["ip", "netns", "exec", name, "curl", "-sSk", "-o", "/dev/null", "--max-time", "2", url]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
