"""The Watchdog keeps a check of Healthchecks up, by the shipped route; without Alertmanager the check goes down."""

from __future__ import annotations

import json
import time
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from lab.fakes.healthchecks import Healthchecks
from lab.fakes.receivers import Receivers
from lab.running.server import Workspace
from lab.servers.alertmanager import Alertmanager

HASTE = 60  # the Watchdog is sent each second
PATIENCE = 120.0


class Guarded(Alertmanager):
    """An Alertmanager whose dead man's switch is a check of Healthchecks, as docs/install.md has it."""

    switch = ""

    def prepare(self) -> None:
        """Write the check's address, and nothing else, where the placeholder stands."""
        super().prepare()
        file = self.directory / "alertmanager.yml"
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        (receiver,) = (one for one in config["receivers"] if one["name"] == "deadmansswitch")
        receiver["webhook_configs"] = [{"url": self.switch, "send_resolved": False}]
        file.write_text(yaml.safe_dump(config), encoding="utf-8")


def _fire(alertmanager: Alertmanager) -> None:
    """Tell it of the Watchdog, as Prometheus does again and again."""
    alert = {"labels": {"alertname": "Watchdog"}, "endsAt": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    request = urllib.request.Request(
        f"{alertmanager.url}/api/v2/alerts", json.dumps([alert]).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=PATIENCE).close()


def _until(switch: Healthchecks, status: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while switch.status() != status:
        assert time.monotonic() < deadline, f"it is {switch.status()}, not {status}"
        time.sleep(0.05)


def test_the_switch_is_up_while_the_watchdog_arrives_and_down_when_it_does_not() -> None:
    with Workspace() as lab, Healthchecks(period=2, grace=1) as switch:
        receivers = Receivers(lab)
        receivers.start()
        alertmanager = Guarded(lab, receivers)
        alertmanager.haste, alertmanager.switch = HASTE, switch.url
        alertmanager.start()
        assert switch.status() == "new"
        _fire(alertmanager)
        _until(switch, "up")
        alertmanager.kill()
        before = switch.alarms
        _until(switch, "down")
        assert switch.alarms == before + 1
        alertmanager.start()
        _fire(alertmanager)
        _until(switch, "up")


def test_a_wrong_address_is_refused() -> None:
    with Healthchecks(period=2, grace=1) as switch, pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{switch.url}0", data=b"{}")
