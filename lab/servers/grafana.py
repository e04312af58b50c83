"""Grafana in the lab, where it is installed: our provisioning and dashboards, and a picture of each; judges no picture.

Debian has no package of Grafana, so the lab runs without it. Written from Grafana's documentation.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from lab.running.server import WebServer, http_answers
from lab.running.workspace import ROOT, LabError

if TYPE_CHECKING:
    from lab.running.server import Workspace
    from lab.servers.prometheus import Prometheus

HOW_TO_GET = (
    "Grafana is not here. Unpack https://grafana.com/grafana/download (9.4 to 12) and set GRAFANA_HOME to the folder, "
    "or install the package `grafana` that Grafana's makers offer."
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_WIDTH, _CELL = 1600, 38  # pixels: of a picture, and of one row of Grafana's grid with its gap
_LOADING = 30_000  # milliseconds of the page's own time until the picture is taken


def home() -> Path | None:
    """Return Grafana's folder: GRAFANA_HOME, or that of a `grafana` on the PATH; None if there is none."""
    if named := os.environ.get("GRAFANA_HOME"):
        return Path(named)
    program = shutil.which("grafana")
    if program is None:
        return None
    unpacked = Path(program).resolve().parent.parent
    return unpacked if (unpacked / "conf/defaults.ini").exists() else Path("/usr/share/grafana")


class Grafana(WebServer):
    """A Grafana with our data source and dashboards, which anybody may look at.

    Args:
        lab: where it runs.
        folder: Grafana's own, see `home`.
        prometheus: what it shows.
    """

    patience = 90.0  # its first start fills a database

    def __init__(self, lab: Workspace, folder: Path, prometheus: Prometheus) -> None:
        super().__init__(lab, "grafana")
        self.folder = folder
        self.prometheus = prometheus

    def prepare(self) -> None:
        """Copy the operator's two directories, and name this lab's Prometheus and folder in place of the operator's."""
        fitted = {
            "http://localhost:9090": self.prometheus.url,
            "/var/lib/grafana/dashboards": str(self.directory / "dashboards"),
        }
        shutil.copytree(ROOT / "dashboards", self.directory / "dashboards", dirs_exist_ok=True)
        provisioning = self.directory / "provisioning"
        shutil.copytree(ROOT / "prometheus/grafana/provisioning", provisioning, dirs_exist_ok=True)
        for file in provisioning.rglob("*.yaml"):
            text = file.read_text(encoding="utf-8")
            for theirs, ours in fitted.items():
                text = text.replace(theirs, ours)
            file.write_text(text, encoding="utf-8")

    def command(self) -> list[str]:
        """Run the server; everything else is in its environment."""
        program = self.folder / "bin/grafana"
        return [str(program) if program.exists() else "grafana", "server", f"--homepath={self.folder}"]

    def environment(self) -> dict[str, str]:
        """Keep its data here, let anybody look, and send nothing anywhere."""
        return {
            "GF_PATHS_DATA": str(self.directory / "data"),
            "GF_PATHS_PROVISIONING": str(self.directory / "provisioning"),
            "GF_SERVER_HTTP_ADDR": "127.0.0.1",
            "GF_SERVER_HTTP_PORT": str(self.port),
            "GF_AUTH_ANONYMOUS_ENABLED": "true",
            "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
            "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        }

    def is_ready(self) -> bool:
        """Ask for the last dashboard: then all are there."""
        last = max((ROOT / "dashboards").glob("*.json")).stem
        return http_answers(f"{self.url}/api/dashboards/uid/{last}", HTTPStatus.OK)

    def take_pictures(self, folder: Path) -> list[Path]:
        """Save a picture of each dashboard as a PNG file; return the files.

        Raises:
            LabError: there is no browser, or it took no picture.
        """
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if browser is None:
            raise LabError(f"no browser takes the pictures: install one of {', '.join(BROWSERS)}")
        folder.mkdir(parents=True, exist_ok=True)
        return [self._take(browser, path, folder) for path in sorted((ROOT / "dashboards").glob("*.json"))]

    def _take(self, browser: str, dashboard: Path, folder: Path) -> Path:
        panels = json.loads(dashboard.read_text(encoding="utf-8"))["panels"]
        # Grafana draws what is in the window, so the window is as high as the dashboard.
        height = _CELL * max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) + 150
        picture = folder / f"{dashboard.stem}.png"
        command = [
            *(browser, "--headless", "--disable-gpu", "--hide-scrollbars"),
            *(["--no-sandbox"] if os.geteuid() == 0 else []),  # Chromium refuses root its sandbox
            *(f"--window-size={_WIDTH},{height}", f"--virtual-time-budget={_LOADING}", f"--screenshot={picture}"),
            f"{self.url}/d/{dashboard.stem}?kiosk&from=now-5m&to=now",
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        if done.returncode or not picture.exists():
            raise LabError(f"{browser} took no picture of {dashboard.stem}: {done.stderr.strip().splitlines()[-1:]}")
        return picture
