"""Alertmanager in the lab: our routes and inhibitions, and receivers that log every notification."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import yaml

from check.client import CannotAskError, HttpClient
from lab.running.programs import program
from lab.running.server import ScrapeTarget, WebServer, http_answers
from lab.running.workspace import ROOT, LabError
from toolkit.values import duration

if TYPE_CHECKING:
    from lab.fakes.receivers import Receivers
    from lab.running.server import Workspace

_WAITS = ("group_wait", "group_interval", "repeat_interval")


class Alertmanager(WebServer):
    """Where Prometheus sends its alerts; started before it.

    Args:
        lab: where it runs.
        receivers: where it sends notifications.

    Attributes:
        haste: what its waits are divided by; set it before the start.
    """

    def __init__(self, lab: Workspace, receivers: Receivers) -> None:
        super().__init__(lab, "alertmanager")
        self._receivers = receivers
        self.haste = 1
        self.target = ScrapeTarget("alertmanager", "monitoring", self.port)

    def prepare(self) -> None:
        """Fit the operator's file to the lab."""
        config = yaml.safe_load((ROOT / "prometheus/alertmanager.yml").read_text(encoding="utf-8"))
        secret = self.directory / "secret"
        secret.write_text("secret-of-the-lab\n")
        config["route"] = hastened(config["route"], self.haste)
        (self.directory / "alertmanager.yml").write_text(
            yaml.safe_dump(redirected(config, self._receivers.port, str(secret)))
        )

    def command(self) -> list[str]:
        """Run it alone: it looks for no other to share its alerts with."""
        return [
            program("alertmanager", "prometheus-alertmanager"),
            f"--config.file={self.directory / 'alertmanager.yml'}",
            f"--storage.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]

    def is_ready(self) -> bool:
        """Use its own readiness page."""
        return http_answers(f"{self.url}/-/ready", HTTPStatus.OK)

    def alerts(self) -> list[dict[str, Any]]:
        """Return what it holds, as /api/v2/alerts describes it: labels, receivers, status.state (active, suppressed).

        Raises:
            LabError: it does not answer.
        """
        try:
            held: list[dict[str, Any]] = HttpClient(self.url).ask("api/v2/alerts")
        except CannotAskError as error:
            raise LabError(str(error)) from error
        return held


def hastened(route: dict[str, Any], haste: int) -> dict[str, Any]:
    """Return a route, and those below it, whose waits are divided by `haste`; a second is the least."""
    waits = {name: duration(route.get(name, "0s"), zero=True) for name in _WAITS}
    shorter = {name: f"{max(1, int(wait) // haste)}s" for name, wait in waits.items() if wait}
    below = {"routes": [hastened(each, haste) for each in route["routes"]]} if "routes" in route else {}
    return route | shorter | below


def redirected(config: dict[str, Any], port: int, secret: str) -> dict[str, Any]:
    """Return a configuration whose receivers are called on a port of 127.0.0.1, their secrets in one file."""
    for receiver in config["receivers"]:
        for page in receiver.get("pagerduty_configs", ()):
            page |= {"url": f"http://127.0.0.1:{port}/{receiver['name']}", "routing_key_file": secret}
        for hook in receiver.get("webhook_configs", ()):
            hook["url"] = f"http://127.0.0.1:{port}/{receiver['name']}"
            hook["http_config"]["authorization"]["credentials_file"] = secret
    return config
