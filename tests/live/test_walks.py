"""The walks of docs/walks.md, walked: the alert, the dashboard it opens, and what each panel says on the way."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from check.panels import FOLDER, as_regex, filled_in, read_dashboards
from lab.fakes.recorded import Recorded
from lab.fakes.recordings import FOLDER as RECORDED
from lab.running.server import Workspace
from lab.running.workspace import ROOT
from lab.servers.prometheus import Prometheus
from lab.stack import Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GUIDE = (ROOT / "docs/walks.md").read_text(encoding="utf-8")
PATIENCE = 240.0


@dataclass
class Walk:
    """Somebody who follows an alert's link: the dashboard, its node, and what its panels say now."""

    prometheus: Prometheus
    alert: dict[str, Any]

    @property
    def uid(self) -> str:
        return self._link.path.split("/")[-1]

    @property
    def node(self) -> str:
        return urllib.parse.parse_qs(self._link.query)["var-node"][0]

    @property
    def _link(self) -> urllib.parse.ParseResult:
        url: str = self.alert["annotations"]["dashboard_url"]
        return urllib.parse.urlparse(url)

    def see(self, title: str, ref: str = "A", by: str | None = None) -> dict[str, float]:
        """Return what a query of a panel gives now, by the words of its legend, or by a label that a table shows."""
        model = json.loads((FOLDER / f"{self.uid}.json").read_text(encoding="utf-8"))
        (panel,) = (one for one in _flat(model["panels"]) if one["title"] == title)
        (target,) = (one for one in panel["targets"] if one["refId"] == ref)
        expr = filled_in(target["expr"], {"node": as_regex(self.node)}, "20s")
        legend = f"{{{{{by}}}}}" if by else target["legendFormat"]
        return {_line(legend, sample.labels): sample.value for sample in self.prometheus.query(expr)}


def _line(legend: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda label: labels.get(label[1], ""), legend)


def _flat(panels: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in panels:
        yield panel
        yield from _flat(panel.get("panels", []))


def begin(prometheus: Prometheus, name: str) -> Walk:
    """Wait for the alert, pending or firing, and follow its link."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with urllib.request.urlopen(f"{prometheus.url}/api/v1/alerts", timeout=10) as answer:
            found = [alert for alert in json.load(answer)["data"]["alerts"] if alert["labels"]["alertname"] == name]
        if found:
            return Walk(prometheus, found[0])
        assert time.monotonic() < deadline, f"{name} did not come"


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline


def test_walk_from_a_dead_prosody() -> None:
    with Lab() as lab:
        lab.start(lab.prosody, lab.prosody_exporter, lab.prometheus)
        until(lambda: lab.prometheus.query("prosody_up == 1"))
        lab.prosody.kill()
        walk = begin(lab.prometheus, "ProsodyDown")
        assert (walk.uid, walk.node) == ("prosody-overview", "prosody1")
        assert walk.see("Prosody down") == {"prosody1": 0}
        assert [*walk.see("Sessions, fullest node")] == ["NODE DOWN"]
        assert walk.see("Nodes") == {"state": 0}
        assert walk.see("Targets that answer") == {"prosody1 prosody": 1}
        assert walk.see("Prosody answers") == {"prosody1": 0}


def test_a_read_timeout_left_at_its_default() -> None:
    with Lab(prosody_config="network_settings = { read_timeout = 840 }") as lab:
        lab.start(lab.prosody, lab.prosody_exporter, lab.prometheus)
        walk = begin(lab.prometheus, "ProsodyReadTimeoutHigh")
        assert (walk.uid, walk.node) == ("presence-health", "prosody1")
        assert "14m 0s (limit 120 seconds)" in walk.alert["annotations"]["summary"]
        assert walk.see("Longest read_timeout") == {"WARNING, 700 %": 840}
        assert walk.see("Time until vanished users look offline")["prosody1"] > 840
        assert walk.see("Settings in force", by="name")["read_timeout"] == 840


def test_calls_that_apple_refuses() -> None:
    """Half of all calls fail for one reason; played back, because no Apple is asked in the lab."""
    text = (RECORDED / "push-gateway.prom").read_text(encoding="utf-8")
    rising = ("push_voip_sent_total", "push_voip_failed_total", "push_fcm_sent_total")
    still = re.sub(r"# TYPE (?!(?:" + "|".join(rising) + r")\b)(\w+) counter", r"# TYPE \1 gauge", text)
    refused = re.sub(r"(?m)^push_failures_total.*\n", "", still)
    refused += '# TYPE push_failures_total counter\npush_failures_total{handler="voip",reason="BadDeviceToken"} 0\n'
    with Workspace() as lab:
        (lab.directory / "refused.prom").write_text(refused)
        Recorded(lab, "push-gateway", "prosody1", str(lab.directory / "refused")).start()
        prometheus = Prometheus(lab, interval=1)
        prometheus.start()
        walk = begin(prometheus, "PushVoipFailuresHigh")
        assert (walk.uid, walk.node) == ("push-gateway-health", "prosody1")
        assert walk.alert["annotations"]["summary"].startswith("prosody1: 50% of VoIP pushes fail")
        assert walk.see("VoIP success, worst") == {"WARNING": 0.5}
        assert walk.see("FCM success, worst") == {"OK": 1}
        assert walk.see("VoIP: share that fails") == {"prosody1": 0.5}
        assert walk.see("Pushes/s", "B")["prosody1 voip failed"] > 0
        assert list(walk.see("Failures/s by reason")) == ["prosody1 voip BadDeviceToken"]
        assert walk.see("Credentials valid")["prosody1 voip"] == 1


def test_every_panel_row_and_dashboard_that_the_guide_names_exists() -> None:
    titles = {panel.title for dashboard in read_dashboards() for panel in dashboard.panels}
    assert set(re.findall(r"\*\*([^*]+)\*\*", GUIDE)) <= titles
    models = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]
    rows = {panel["title"] for model in models for panel in model["panels"] if panel["type"] == "row"}
    named = set(re.findall(r"row \*([^*]+)\*|Open \*([^*]+)\*", GUIDE))
    assert {row or other for row, other in named} <= rows
    assert set(re.findall(r"opens \*([^*]+)\*", GUIDE)) <= {model["title"] for model in models}
