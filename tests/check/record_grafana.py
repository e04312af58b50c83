"""Writes what a real Grafana answers to our questions, for `tests.check.servers.FakeGrafana` to replay; tests nothing.

`GRAFANA_HOME=/usr/share/grafana python -m tests.check.record_grafana` writes grafana_answers.json beside it. What is
there now is of a build of 9.4 from before its release, which answered a refused query as one without data; "refused"
and "no PromQL" are of that build with this fixed.
"""

from __future__ import annotations

import base64
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from check.grafana import SOURCE, question
from lab.fakes.recorded import Recorded
from lab.running.server import Workspace
from lab.running.workspace import LabError
from lab.servers.grafana import HOW_TO_GET, Grafana, home
from lab.servers.prometheus import Prometheus
from tests.check.servers import RECORDED

PATIENCE = 240.0  # seconds until Prometheus has what is asked for
ADMIN = f"Basic {base64.b64encode(b'admin:admin').decode()}"  # of a Grafana just started
# Questions for the query API: the name it is replayed by, PromQL, and whether as of now.
QUERIES = {
    "one series": ('up{job="prosody",instance="prosody1"}', True),
    "several series": ('up{job="prosody"}', True),
    "nothing": ("no_such_metric", True),
    "not a number": ("vector(NaN)", True),
    "a graph": ('up{job="prosody"}', False),
    "a graph of nothing": ("no_such_metric", False),
    "a graph with gaps": ('1 / (up{job="prosody"} - up{job="prosody"}) - 1 / 0', False),
    "refused": ('up{job="prosody"} * on (job) up{job="prosody"}', True),
    "no PromQL": ("sum(", True),
}


class Recorder:
    """One Grafana, whose answers are kept by name.

    Args:
        url: where it is.
        token: lets a viewer in.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, dict[str, Any]] = {}

    def asks(self, path: str, body: object = None, authorization: str = ADMIN) -> dict[str, Any]:
        """Return status and JSON of one answer; a body makes it a POST."""
        headers = {"Authorization": authorization, "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return {"status": answer.status, "body": json.load(answer)}
        except urllib.error.HTTPError as error:
            with error:
                return {"status": error.code, "body": json.load(error)}


def main() -> int:
    """Start Prometheus on recorded targets and a Grafana beside it, ask, and write the file."""
    where = home()
    if where is None:
        sys.stderr.write(f"{HOW_TO_GET}\n")
        return 1
    with Workspace() as lab:
        for instance in ("prosody1", "prosody2"):
            Recorded(lab, "prosody", instance, "prosody-exporter").start()
        prometheus = Prometheus(lab, interval=1)
        prometheus.start()
        grafana = Grafana(lab, where, prometheus)
        grafana.start()
        deadline = time.monotonic() + PATIENCE
        while len(prometheus.query('count_over_time(up{job="prosody"}[1m]) > 20')) < 2:
            if time.monotonic() > deadline:
                raise LabError("Prometheus did not scrape two targets twenty times")
            time.sleep(1)
        answers = _recorded(Recorder(grafana.url), prometheus)
    RECORDED.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    sys.stdout.writelines(f"{answer['status']}  {name}\n" for name, answer in answers.items())
    return 0


def _recorded(grafana: Recorder, prometheus: Prometheus) -> dict[str, dict[str, Any]]:
    account = grafana.asks("api/serviceaccounts", {"name": "monitoring", "role": "Viewer"})["body"]
    made = grafana.asks(f"api/serviceaccounts/{account['id']}/tokens", {"name": "monitoring"})
    viewer = f"Bearer {made['body']['key']}"
    grafana.asks("api/dashboards/db", {"dashboard": {"uid": "by-hand", "title": "By hand", "panels": []}})
    answers = {
        "provisioned": grafana.asks("api/dashboards/uid/coturn", authorization=viewer),
        "made by hand": grafana.asks("api/dashboards/uid/by-hand", authorization=viewer),
        "no such dashboard": grafana.asks("api/dashboards/uid/no-such", authorization=viewer),
        "wrong token": grafana.asks("api/dashboards/uid/coturn", authorization="Bearer glsa_wrong"),
    }
    for name in ("provisioned", "made by hand"):
        answers[name]["body"]["dashboard"].pop("panels")  # ours, and long
    for name, (expr, instant) in QUERIES.items():
        answers[name] = grafana.asks("api/ds/query", question(expr, instant=instant), viewer)
    itself = f"api/datasources/uid/{SOURCE['uid']}/resources/api/v1/query?"
    for name, asked in {"Prometheus: nothing": "no_such_metric", "Prometheus: refused": QUERIES["refused"][0]}.items():
        answers[name] = grafana.asks(itself + urllib.parse.urlencode({"query": asked}), authorization=viewer)
    elsewhere = question("up", instant=True)
    elsewhere["queries"][0]["datasource"] = {"type": "prometheus", "uid": "deleted"}
    answers["data source deleted"] = grafana.asks("api/ds/query", elsewhere, viewer)
    prometheus.stop()
    answers["Prometheus gone"] = grafana.asks("api/ds/query", question("up", instant=True), viewer)
    return answers


if __name__ == "__main__":
    sys.exit(main())
