"""Grafana in the lab, where it is installed: our provisioning and dashboards, and a picture of each; judges no picture.

Debian has no package of Grafana, so the lab runs without it. Written from Grafana's documentation.
"""

from __future__ import annotations

import json
import os
import shutil
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.running.browser import Shot, take
from lab.running.server import WebServer, http_answers
from lab.running.workspace import ROOT

if TYPE_CHECKING:
    from lab.running.server import Workspace
    from lab.servers.prometheus import Prometheus

HOW_TO_GET = (
    "Grafana is not here. Unpack https://grafana.com/grafana/download (9.4 to 12) and set GRAFANA_HOME to the folder, "
    "or install the package `grafana` that Grafana's makers offer."
)
LAPTOP = (1366, 768)  # pixels of a small screen
_WIDTH, _CELL = 1920, 38  # pixels: of a large screen, and of one row of Grafana's grid with its gap


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
        for path in (ROOT / "dashboards").glob("*.json"):
            model = opened(json.loads(path.read_text(encoding="utf-8")))
            (self.directory / "dashboards" / f"{model['uid']}.json").write_text(json.dumps(model), encoding="utf-8")
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
        """Save PNG files of each dashboard, dark and light: a laptop's first screen, and all rows on two widths.

        Raises:
            LabError: there is no browser, or it took no picture.
        """
        folder.mkdir(parents=True, exist_ok=True)
        shots = []
        for path in sorted((ROOT / "dashboards").glob("*.json")):
            model = opened(json.loads(path.read_text(encoding="utf-8")))
            whole = _CELL * max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in model["panels"]) + 150
            for theme in ("dark", "light"):
                # Grafana draws what is in the window, so the window is as high as what is to be seen.
                for uid, size, name in (
                    (path.stem, LAPTOP, "1366"),
                    (model["uid"], (LAPTOP[0], whole), "1366-all-rows"),
                    (model["uid"], (_WIDTH, whole), "1920-all-rows"),
                ):
                    url = f"{self.url}/d/{uid}?from=now-15m&to=now&theme={theme}"
                    shots.append(Shot(url, size, folder / f"{path.stem}-{theme}-{name}.png", asks="api/ds/query"))
        take(shots)
        return [shot.file for shot in shots]


def opened(model: dict[str, Any]) -> dict[str, Any]:
    """Return a dashboard with every row open, under a uid of its own."""
    panels: list[dict[str, Any]] = []
    shift = 0
    for panel in model["panels"]:
        inner = panel.get("panels", [])
        at = panel["gridPos"]
        panels.append(panel | {"collapsed": False, "panels": [], "gridPos": at | {"y": at["y"] + shift}})
        panels += [each | {"gridPos": each["gridPos"] | {"y": each["gridPos"]["y"] + shift}} for each in inner]
        shift += max((each["gridPos"]["y"] + each["gridPos"]["h"] - at["y"] - at["h"] for each in inner), default=0)
    # A page of all rows may take longer than its refresh interval, and would never be complete.
    new = {"uid": f"{model['uid']}-all-rows", "title": f"{model['title']}, all rows", "refresh": ""}
    return model | new | {"panels": panels}
