"""Debian's node exporter in the lab, on this machine, with the flags that our guide gives it."""

from __future__ import annotations

import os
import subprocess
from http import HTTPStatus
from typing import TYPE_CHECKING

from lab.running.programs import program
from lab.running.server import ScrapeTarget, WebServer, http_answers
from lab.running.workspace import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab.running.server import Workspace

_SHIPPED = ROOT / "deploy/hosts/prometheus-node-exporter"
FOLDER = "/var/lib/prometheus/node-exporter"


def flags(address: str, folder: Path | str) -> list[str]:
    """Return the shipped command line with another address and another folder of text files."""
    text = _SHIPPED.read_text(encoding="utf-8").partition('ARGS="')[2].rpartition('"')[0].replace("\\\n", "")
    assert text.count(":9100") == text.count(FOLDER) == 1
    return text.replace("=:9100", f"={address}").replace(FOLDER, str(folder)).split()


def tell(told: Sequence[str], folder: Path) -> None:
    """Run commands of deploy/hosts that write into a folder of text files."""
    for command in told:
        script, *arguments = command.split()
        environment = os.environ | {"TEXTFILES": str(folder)}
        subprocess.run([ROOT / "deploy/hosts" / script, *arguments], check=True, env=environment)
    # As Debian's apt_info.py writes it; the drill runs the real one.
    (folder / "apt.prom").write_text("node_reboot_required 0\n", encoding="utf-8")


class NodeExporter(WebServer):
    """One host of the lab where there can be no `Machine`: this very machine, by Debian's node exporter.

    Args:
        lab: where it runs.
        name: of the host.
        told: commands of deploy/hosts that have run on it before.
    """

    def __init__(self, lab: Workspace, name: str, *told: str) -> None:
        super().__init__(lab, f"{name}-node")
        self._told = told
        self.target = ScrapeTarget("node", name, self.port)

    @property
    def textfiles(self) -> Path:
        """The folder of the textfile collector."""
        folder = self.directory / "textfiles"
        folder.mkdir(exist_ok=True)
        return folder

    def prepare(self) -> None:
        """Write what its scripts have told."""
        tell(self._told, self.textfiles)

    def command(self) -> list[str]:
        """Run it on loopback."""
        exporter = program("node_exporter", "prometheus-node-exporter")
        return [exporter, *flags(f"127.0.0.1:{self.port}", self.textfiles)]

    def is_ready(self) -> bool:
        """Its page answers."""
        return http_answers(f"{self.url}/metrics", HTTPStatus.OK)
