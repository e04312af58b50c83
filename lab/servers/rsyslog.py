"""Debian's rsyslog in the lab with the files of deploy/rsyslog: a host that sends its log, and the store."""

from __future__ import annotations

import os
import subprocess
from abc import abstractmethod
from typing import TYPE_CHECKING

from lab.running.server import Server, tcp_accepts
from lab.running.workspace import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from lab.running.server import Workspace
    from lab.servers.machine import Machine

SHIPPED = ROOT / "deploy/rsyslog"


class _Rsyslog(Server):
    """A rsyslogd whose configuration is one file of deploy/rsyslog, with the lab's places."""

    file: str

    @abstractmethod
    def places(self) -> dict[str, str]:
        """Return what is written in the shipped file, and what stands there in the lab."""

    def prepare(self) -> None:
        """Write its configuration."""
        text = (SHIPPED / self.file).read_text(encoding="utf-8")
        for shipped, here in self.places().items():
            assert shipped in text, f"{self.file} has no {shipped}"
            text = text.replace(shipped, here)
        spool = self.directory / "spool"
        spool.mkdir(exist_ok=True)
        before = f'global(workDirectory="{spool}")\n'
        (self.directory / "rsyslog.conf").write_text(before + text, encoding="utf-8")

    def command(self) -> list[str]:
        """Run it in the foreground, without a file for its process id."""
        return ["rsyslogd", "-n", "-iNONE", "-f", str(self.directory / "rsyslog.conf")]


class LogStore(_Rsyslog):
    """The monitoring host's rsyslog, with a file for each host.

    Args:
        lab: where it runs.
        host: the address it listens on.

    Attributes:
        folder: the files.
    """

    file = "10-commeazy-store.conf"

    def __init__(self, lab: Workspace, host: str = "127.0.0.1") -> None:
        super().__init__(lab, "log-store")
        self.host, self.port = host, lab.ports.reserve()

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return self.directory / "hosts"

    @property
    def address(self) -> str:
        """Where hosts send."""
        return f"{self.host}:{self.port}"

    def places(self) -> dict[str, str]:
        """Listen at the lab's address only, and admit it."""
        return {
            'port="514"': f'address="{self.host}" port="{self.port}"',
            "10.0.1.0/24": "198.18.0.0/16",
            "/var/log/hosts": str(self.folder),
        }

    def is_ready(self) -> bool:
        """It listens."""
        return tcp_accepts(self.port) if self.host == "127.0.0.1" else self.running

    def read(self) -> str:
        """Return everything it has got."""
        files = self.folder.glob("*.log") if self.folder.is_dir() else ()
        return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)

    def tell_ages(self, textfiles: Path) -> None:
        """Run the script that the monitoring host runs each minute."""
        environment = os.environ | {"LOGS": str(self.folder), "TEXTFILES": str(textfiles)}
        subprocess.run([ROOT / "deploy/hosts/commeazy-log-ages"], check=True, env=environment)


class LogShipper(_Rsyslog):
    """A host's rsyslog, which reads files of the services and a socket, and sends to the store.

    Attributes:
        filter: the file of sed that takes personal data out.
    """

    file = "10-commeazy-ship.conf"

    def __init__(self, store: LogStore) -> None:
        super().__init__(store.lab, "log-shipper")
        self._store = store
        self.filter = SHIPPED / "personal-data.sed"

    @property
    def address(self) -> str:
        """The socket that stands for the journal."""
        return str(self.directory / "log")

    @property
    def local(self) -> Path:
        """The file that stands for /var/log/syslog."""
        return self.directory / "syslog"

    @property
    def files(self) -> Path:
        """The folder that stands for /var/log."""
        return self.directory / "files"

    def places(self) -> dict[str, str]:
        """Read the lab's files, and a socket as journald's."""
        for name in ("prosody", "turnserver", "postgresql"):
            (self.files / name).mkdir(parents=True, exist_ok=True)
        return {
            'module(load="imfile")': (
                f'module(load="imuxsock" sysSock.use="off")\ninput(type="imuxsock" socket="{self.address}")\n'
                'module(load="imfile")'
            ),
            'file="/var/log/': f'file="{self.files}/',
            "/etc/commeazy-logs/personal-data.sed": str(self.filter),
            'target="10.0.1.50" port="514"': f'target="{self._store.host}" port="{self._store.port}"',
            'action.resumeInterval="10"': 'action.resumeInterval="1"',
            "call commeazy\n": f'call commeazy\naction(type="omfile" file="{self.local}")\n',
        }

    def is_ready(self) -> bool:
        """Its socket is there."""
        return (self.directory / "log").exists()


def ship(machine: Machine, store: LogStore) -> None:
    """Give a machine of its own Debian's journald and rsyslog, with the shipped file: it sends its journal."""
    text = (SHIPPED / LogShipper.file).read_text(encoding="utf-8")
    for shipped, here in {
        "/etc/commeazy-logs/personal-data.sed": str(SHIPPED / "personal-data.sed"),
        'target="10.0.1.50" port="514"': f'target="{store.host}" port="{store.port}"',
    }.items():
        assert shipped in text
        text = text.replace(shipped, here)
    before = f'global(workDirectory="/run/spool" localHostname="{machine.instance}")\nmodule(load="imuxsock")\n'
    (machine.directory / "rsyslog.conf").write_text(before + text, encoding="utf-8")
    (machine.directory / "rsyslog.service").write_text(
        "[Unit]\nDefaultDependencies=no\nRequires=syslog.socket\n[Service]\n"
        "ExecStart=/usr/sbin/rsyslogd -n -iNONE -f /run/lab/rsyslog.conf\n",
        encoding="utf-8",
    )
    machine.run(
        "mkdir -p /run/spool; cd /lib/systemd/system; "
        "cp systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket syslog.socket "
        "/run/lab/rsyslog.service /run/units/; "
        "ln -sf rsyslog.service /run/units/syslog.service; "
        "systemctl daemon-reload; systemctl start systemd-journald-dev-log.socket systemd-journald.service rsyslog"
    )
