"""Ways to break a host of the lab, which is a virtual machine; see faults.py."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lab.running.workspace import LabError
from lab.servers.rsyslog import LogStore, ship

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.servers.machine import Machine
    from lab.stack import Lab

_DISK = 40  # MB of the disk that fills
_PATIENCE = 120.0


@contextmanager
def filled(lab: Lab, megabytes: int, kilobytes: int = 0) -> Iterator[None]:
    """A disk of 40 MB, which was empty, holds so much, and so much more each second."""
    machine = lab.pair[0]
    machine.run(f"mount -t tmpfs -o size={_DISK}m tmpfs /srv")
    # Prometheus must have seen it empty, and none of the disk of another drill, or it does not grow.
    _until(
        lambda: lab.prometheus.query(
            f'min_over_time(node_filesystem_avail_bytes{{mountpoint="/srv"}}[1m]) == {_DISK * 2**20}\n'
            'and count_over_time(node_filesystem_avail_bytes{mountpoint="/srv"}[1m]) > 1'
        ),
        "Prometheus did not see an empty disk",
    )
    machine.run(f"head -c {megabytes}M /dev/zero >/srv/first")
    if kilobytes:
        script = machine.directory / "grow.py"
        script.write_text(
            "import time\nwith open('/srv/more', 'ab', buffering=0) as file:\n"
            f"    while True:\n        file.write(bytes({kilobytes}000))\n        time.sleep(1)\n",
            encoding="utf-8",
        )
        _serve(machine, "grow", "/usr/bin/python3 /run/lab/grow.py")
    yield
    machine.run("systemctl stop grow 2>/dev/null || true; umount -l /srv")


@contextmanager
def short_of_memory(machine: Machine) -> Iterator[None]:
    """Files in memory leave a fifth of it: with less, this small machine reads its programs again and again."""
    machine.run(
        "mount -t tmpfs -o size=100% tmpfs /mnt; "
        "head -c $(awk '/^MemTotal/ {t=$2} /^MemAvailable/ {a=$2} END {print int(a - t / 5)}' /proc/meminfo)K "
        "/dev/zero >/mnt/ballast"
    )
    yield
    machine.run("umount -l /mnt")


@contextmanager
def out_of_memory(machine: Machine) -> Iterator[None]:
    """A program takes memory until the kernel ends it."""
    # What takes part in the drill stays (lab/servers/machine.py); this is what the kernel is to end.
    machine.run("(echo 1000 >/proc/self/oom_score_adj; exec tail /dev/zero) || true")
    yield


@contextmanager
def busy(machine: Machine) -> Iterator[None]:
    """A program computes without end."""
    _serve(machine, "spin", "/bin/sh -c 'while :; do :; done'")
    yield
    machine.run("systemctl stop spin")


@contextmanager
def clock_set(machine: Machine, seconds: int) -> Iterator[None]:
    """Somebody set the clock."""
    machine.run(f"date -s '{seconds} seconds'")
    yield
    machine.run(f"date -s '{-seconds} seconds'")


@contextmanager
def failed_unit(machine: Machine) -> Iterator[None]:
    """A service cannot be started."""
    _serve(machine, "broken", "/bin/false")
    yield
    machine.run("systemctl reset-failed broken")


@contextmanager
def restarting_unit(machine: Machine) -> Iterator[None]:
    """A service ends by itself again and again, and is started again."""
    _serve(machine, "loop", "/bin/sleep 2", "Restart=always\nRestartSec=2\n[Unit]\nStartLimitIntervalSec=0\n")
    yield
    machine.run("systemctl stop loop")


def _serve(machine: Machine, name: str, command: str, more: str = "") -> None:
    file = machine.directory / f"{name}.service"
    # The machine has no sysinit.target, which units need by default.
    text = f"[Unit]\nDefaultDependencies=no\n[Service]\nExecStart={command}\n{more}"
    file.write_text(text, encoding="utf-8")
    # Whether it goes on running is the fault's business; here it must have been started.
    machine.run(f"cp /run/lab/{name}.service /run/units/; systemctl daemon-reload; systemctl start {name}")


@contextmanager
def few_files(machine: Machine) -> Iterator[None]:
    """A program has 2,000 files open, and somebody lowered fs.file-max until that is nine tenths of it."""
    script = machine.directory / "files.py"
    # So many that what the node exporter opens for a scrape is little beside them, and finds room.
    script.write_text(
        "import time\nheld = [open('/dev/null') for _ in range(2000)]\ntime.sleep(3600)\n", encoding="utf-8"
    )
    before = machine.run("cat /proc/sys/fs/file-max").strip()
    _serve(machine, "files", "/usr/bin/python3 /run/lab/files.py", "LimitNOFILE=4096\n")
    # Not the shell's own `read`: it takes byte after byte, and the kernel gives a number's first byte only.
    _until(lambda: int(machine.run("cut -f1 /proc/sys/fs/file-nr")) > 2000, "no program has 2,000 files open")  # noqa: PLR2004 - of above
    machine.run("echo $(($(cut -f1 /proc/sys/fs/file-nr) * 10 / 9)) >/proc/sys/fs/file-max")
    yield
    machine.run(f"echo {before} >/proc/sys/fs/file-max; systemctl stop files")


@contextmanager
def many_connections(machine: Machine) -> Iterator[None]:
    """The firewall's table has room for 100 connections, and 95 are made."""
    machine.run(
        "iptables-legacy -A OUTPUT -m conntrack --ctstate INVALID -j DROP; "
        "echo 100 >/proc/sys/net/netfilter/nf_conntrack_max; "
        "echo 600 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout; "
        f'bash -c "for port in {{1001..1095}}; do echo x >/dev/udp/{machine.gateway}/\\$port; done" || true'
    )
    yield
    machine.run(
        "echo 262144 >/proc/sys/net/netfilter/nf_conntrack_max; iptables-legacy -F OUTPUT; "
        "echo 1 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout"
    )


@contextmanager
def flood(machine: Machine) -> Iterator[None]:
    """The host sends as much as it can."""
    script = machine.directory / "flood.py"
    script.write_text(
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"while True:\n    s.sendto(bytes(1400), ('{machine.gateway}', 9))\n",
        encoding="utf-8",
    )
    _serve(machine, "flood", "/usr/bin/python3 /run/lab/flood.py")
    yield
    machine.run("systemctl stop flood")


@contextmanager
def reboot_needed(machine: Machine) -> Iterator[None]:
    """An update asked for a reboot, and Debian's collector tells."""
    machine.run(f"touch /run/reboot-required; {_APT}")
    yield
    machine.run(f"rm /run/reboot-required; {_APT}")


_APT = (
    "/usr/share/prometheus-node-exporter-collectors/apt_info.py >/run/lab/apt; "
    "mv /run/lab/apt /run/lab/textfiles/apt.prom"
)


@contextmanager
def old_backup(machine: Machine, kind: str, days: int) -> Iterator[None]:
    """No backup has succeeded for days: the last was made when the clock said so, and tonight's fails."""
    backup = f"TEXTFILES=/run/lab/textfiles {_SCRIPTS}/commeazy-backup {kind}"
    machine.run(f"date -s '-{days} days'; {backup} true; date -s '{days} days'; {backup} false || true")
    yield
    machine.run(f"{backup} true")


_SCRIPTS = "/run/hosts"


@contextmanager
def no_master(lab: Lab) -> Iterator[None]:
    """Keepalived was stopped on both HAProxies."""
    with _pair(lab):
        for machine in lab.pair:
            machine.run("systemctl stop keepalived")
        yield
        for machine in lab.pair:
            machine.run("systemctl start keepalived")
        _until_one_is_master(lab)


@contextmanager
def two_masters(lab: Lab) -> Iterator[None]:
    """The two HAProxies do not hear each other any more."""
    with _pair(lab):
        for machine in lab.pair:
            machine.run("iptables-legacy -I INPUT -i vec1 -p 112 -j DROP")
        yield
        for machine in lab.pair:
            machine.run("iptables-legacy -D INPUT -i vec1 -p 112 -j DROP")
        _until_one_is_master(lab)


@contextmanager
def _pair(lab: Lab) -> Iterator[None]:
    for number, machine in enumerate(lab.pair):
        (machine.directory / "keepalived.conf").write_text(
            "global_defs {\n  script_user root\n  enable_script_security\n}\n"
            "vrrp_instance VI_1 {\n  state BACKUP\n  interface vec1\n  virtual_router_id 51\n"
            f"  priority {100 - number}\n  advert_int 1\n  virtual_ipaddress {{\n    10.9.0.100/24\n  }}\n"
            "  notify /run/notify\n  notify_stop /run/notify\n}\n",
            encoding="utf-8",
        )
        machine.run(
            f"ip address replace 10.9.0.{number + 1}/24 dev vec1; ip link set vec1 up; "
            "printf '#!/bin/sh\\nTEXTFILES=/run/lab/textfiles exec /run/hosts/commeazy-keepalived-state \"$@\"\\n' "
            ">/run/notify; chmod 755 /run/notify"
        )
        _serve(machine, "keepalived", "/usr/sbin/keepalived -n -D -l -f /run/lab/keepalived.conf")
    _until_one_is_master(lab)
    yield
    for machine in lab.pair:
        machine.run("systemctl stop keepalived; sleep 1; rm -f /run/lab/textfiles/keepalived-VI_1.prom")


def _until_one_is_master(lab: Lab) -> None:
    files = [machine.textfiles / "keepalived-VI_1.prom" for machine in lab.pair]
    _until(
        lambda: sorted(file.read_text(encoding="utf-8").split()[-1] for file in files if file.exists()) == ["1", "2"],
        "keepalived's states are not 1 and 2",
    )


def _until(holds: Callable[[], object], otherwise: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise LabError(otherwise)
        time.sleep(0.2)


@contextmanager
def log_silent(machine: Machine) -> Iterator[None]:
    """A host sends its journal to the log store, until its rsyslog is stopped."""
    store = LogStore(machine.lab, machine.gateway)
    store.start()
    ship(machine, store)
    over = threading.Event()

    def tell() -> None:
        while not over.wait(1):
            store.tell_ages(machine.textfiles)

    teller = threading.Thread(target=tell)
    teller.start()
    try:

        def arrived() -> bool:
            machine.run("logger -t lab 'a line of the journal'")
            return f"{machine.instance} " in store.read()

        _until(arrived, f"{store.name} got no line of {machine.name}")
        machine.run("systemctl stop rsyslog syslog.socket")
        yield
    finally:
        over.set()
        teller.join()
        (machine.textfiles / "log-ages.prom").unlink(missing_ok=True)
        store.stop()
