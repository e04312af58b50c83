"""VictoriaMetrics and vmalert take the shipped rules, and find an idle push gateway whole."""

from __future__ import annotations

import re
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import yaml

from alerts.generate import RULES
from alerts.render import INTERVAL
from check.client import HttpClient
from lab.fakes.recordings import FOLDER
from lab.running.server import Workspace
from lab.servers.victoriametrics import VictoriaMetrics, Vmalert

if TYPE_CHECKING:
    from pathlib import Path


def _page() -> str:
    """Return what an idle gateway answers: the recorded page with every counter and bucket at 0."""
    text = (FOLDER / "push-gateway.prom").read_text(encoding="utf-8")
    return "".join(
        line + "\n" if line.startswith("#") or "push_gateway_" in line else line.rpartition(" ")[0] + " 0\n"
        for line in text.splitlines()
    )


def test_an_idle_gateway_misses_no_metric_and_every_group_has_its_interval(tmp_path: Path) -> None:
    page = _page().encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    for file in RULES.glob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        groups = yaml.safe_load(text)["groups"]
        assert {group["interval"] for group in groups} <= {INTERVAL, "1m", "4m"}
        (tmp_path / file.name).write_text(re.sub(r"interval: \S+\n", "interval: 1s\n", text))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as gateway, Workspace() as lab:
        Thread(target=gateway.serve_forever, daemon=True).start()
        target = {"targets": [f"127.0.0.1:{gateway.server_port}"], "labels": {"instance": "prosody1"}}
        scrape = lab.directory / "scrape.yml"
        job = {"job_name": "push-gateway", "static_configs": [target]}
        scrape.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
        database = VictoriaMetrics(lab, scrape)
        database.start()
        vmalert = Vmalert(database, tmp_path)
        vmalert.start()
        api = HttpClient(database.url)

        def series(expression: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = api.ask("api/v1/query", query=expression)["data"]["result"]
            return found

        deadline = time.monotonic() + 60
        while not (series("push_gateway_up") and series('ALERTS{alertname="Watchdog"}')):
            assert time.monotonic() < deadline, "what is recorded comes back"
            time.sleep(0.2)

        def missed() -> list[str]:
            found = [alert["labels"] for alert in HttpClient(vmalert.url).ask("api/v1/alerts")["data"]["alerts"]]
            return [labels["metric"] for labels in found if labels.get("job") == "push-gateway" and "metric" in labels]

        time.sleep(3)  # some evaluations more
        while missed():  # before the first evaluation nothing is recorded
            assert time.monotonic() < deadline, missed()
            time.sleep(0.5)
        wrong = [r.get("lastError") or r.get("last_error") for g in vmalert.groups() for r in g.get("rules", [])]
        gateway.shutdown()
    assert not [error for error in wrong if error and "127.0.0.1:9" not in error]
