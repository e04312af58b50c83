"""Two Prometheus of a pair watch each other: when one is gone the other says so, whichever it is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lab.running.server import ScrapeTarget, Workspace
from lab.servers.prometheus import Prometheus

if TYPE_CHECKING:
    from lab.running.server import Server


class Second(Prometheus):
    """The other server of the pair, with an instance of its own."""

    def __init__(self, lab: Workspace) -> None:
        super().__init__(lab, interval=1)
        self.name = "prometheus-b"
        self.target = ScrapeTarget("prometheus", "monitoring2", self.port)


def _says_down(watcher: Prometheus, gone: Server) -> bool:
    assert gone.target is not None
    found = {"alertname": "MonitoringTargetDown", "job": "prometheus", "instance": gone.target.instance}
    return any(found.items() <= alert["labels"].items() for alert in watcher.alerts())


def test_each_of_a_pair_notices_when_the_other_is_gone_and_when_it_is_back() -> None:
    with Workspace() as lab:
        first, second = Prometheus(lab, interval=1), Second(lab)
        first.start()
        second.start()
        first.write_targets()  # as the operator's file names both
        for watcher, gone in ((first, second), (second, first)):
            deadline = time.monotonic() + 120
            while len(watcher.query('up{job="prometheus"} == 1')) != 2:
                assert time.monotonic() < deadline, "both are scraped"
                time.sleep(0.2)
            gone.kill()
            while not _says_down(watcher, gone):
                assert time.monotonic() < deadline, watcher.alerts()
                time.sleep(0.2)
            gone.start()
            while _says_down(watcher, gone):
                assert time.monotonic() < deadline, "it is back"
                time.sleep(0.2)
