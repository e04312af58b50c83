"""Prometheus in the lab: our `prometheus/` folder with the lab's targets and intervals, and questions to its API."""

from __future__ import annotations

import re
import shutil
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import yaml

from alerts.catalogue.prosody import NEW_ENOUGH
from alerts.generate import DASHBOARDS, RUNBOOKS, render
from alerts.render import Links
from check.client import CannotAskError, HttpClient
from check.prometheus import PrometheusApi
from lab.running.programs import program
from lab.running.server import ScrapeTarget, WebServer, Workspace, http_answers
from lab.running.workspace import ROOT, LabError

if TYPE_CHECKING:
    from pathlib import Path

    from check.prometheus import ActiveTarget, Sample


PROMISES = 60  # an hour becomes a minute, 30 days half a day
_VERDICT = re.compile(r"(?<=slo:measured:seconds )>= bool \d+")


class Prometheus(WebServer):
    """A Prometheus that scrapes every server of the lab that says it is a target.

    Args:
        lab: where it runs.
        interval: seconds between scrapes, in place of the configuration's; rules are evaluated twice as often, as
            there.

    Attributes:
        any_prosody: whether ProsodyVersionOld takes any version: the lab's may be older than the specification's.
        thresholds: a file for `generate-rules --thresholds`; None for the committed rules. Set it before the start.
        objectives: a file for `generate-rules --objectives`; None for the defaults. Set it before the start.
        haste: what every window of the promises is divided by: nobody waits days in a lab.
    """

    def __init__(self, lab: Workspace, interval: int = 2) -> None:
        super().__init__(lab, "prometheus")
        self.interval = interval
        self.any_prosody = False
        self.thresholds: Path | None = None
        self.objectives: Path | None = None
        self.haste = PROMISES
        self.target = ScrapeTarget("prometheus", "localhost", self.port)

    def prepare(self) -> None:
        """Copy the operator's folder and fit it to the lab."""
        shutil.copytree(ROOT / "prometheus", self.directory, dirs_exist_ok=True)
        config = self.directory / "prometheus.yml"
        config.write_text(yaml.safe_dump(self.configured(yaml.safe_load(config.read_text()))))
        files = render(self.thresholds, Links(RUNBOOKS, DASHBOARDS), objectives=self.objectives, haste=self.haste)
        # Six hours without a verdict are longer than any lab. The alerts keep them, unless the thresholds say less.
        files["promises.yaml"] = _VERDICT.sub(">= bool 1", files["promises.yaml"])
        for name, text in files.items():
            (self.directory / "rules" / name).write_text(text)
        for rules in (self.directory / "rules").glob("*.yaml"):
            text = rules.read_text(encoding="utf-8")
            if self.any_prosody:
                text = text.replace(f'version!~"{NEW_ENOUGH}"', 'version!~".*"')
            rules.write_text(re.sub(r"interval: \S+\n", f"interval: {self.interval * 500}ms\n", text))
        self.write_targets()

    def configured(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return its configuration, made from the operator's prometheus.yml."""
        return shortened(config, self.interval)

    def write_targets(self) -> None:
        """Name the servers started so far in the target files; a running Prometheus follows within seconds."""
        targets = [server.target for server in (*self.lab.servers, self) if server.target is not None]
        for file in (self.directory / "targets").glob("*.yml"):
            groups = [
                {"targets": [f"{target.host}:{target.port}"], "labels": {"instance": target.instance}}
                for target in dict.fromkeys(targets)
                if target.job == file.stem
            ]
            complete = file.with_suffix(".new")  # renamed, so that Prometheus never reads half a file
            complete.write_text(yaml.safe_dump(groups))
            complete.replace(file)

    def command(self) -> list[str]:
        """Keep its data in the lab's directory."""
        return [
            program("prometheus"),
            f"--config.file={self.directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-lifecycle",
            "--storage.tsdb.retention.time=90d",  # as docs/install.md has it
            # What it says before it has found Alertmanager is lost, and would be said again only after a minute.
            f"--rules.alert.resend-delay={2 * self.interval}s",
        ]

    def reload(self) -> bool:
        """Let it read its configuration and rules again; return whether it could."""
        request = urllib.request.Request(f"{self.url}/-/reload", method="POST")  # noqa: S310 - loopback
        try:
            urllib.request.urlopen(request, timeout=self.patience).close()  # noqa: S310 - as above
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return True

    def is_ready(self) -> bool:
        """Use its own readiness page."""
        return http_answers(f"{self.url}/-/ready", HTTPStatus.OK)

    def query(self, expression: str) -> list[Sample]:
        """Evaluate a PromQL expression now; return its samples.

        Raises:
            LabError: Prometheus does not answer, or refuses the expression.
        """
        try:
            return self.api.query(expression)
        except CannotAskError as error:
            raise self._unanswered(error) from error

    def targets(self) -> list[ActiveTarget]:
        """Return every target it scrapes.

        Raises:
            LabError: Prometheus does not answer.
        """
        try:
            return self.api.targets()
        except CannotAskError as error:
            raise self._unanswered(error) from error

    def alerts(self) -> list[dict[str, Any]]:
        """Return every pending and firing alert as /api/v1/alerts describes it: labels, annotations, state.

        Raises:
            LabError: Prometheus does not answer.
        """
        try:
            alerts: list[dict[str, Any]] = self.api.client.ask("api/v1/alerts")["data"]["alerts"]
        except CannotAskError as error:
            raise self._unanswered(error) from error
        return alerts

    @property
    def api(self) -> PrometheusApi:
        """The questions that can be put to it."""
        return PrometheusApi(HttpClient(self.url))

    def _unanswered(self, error: CannotAskError) -> LabError:
        return LabError(self.obituary() if self.crashed else str(error))


def shortened(config: dict[str, Any], interval: int) -> dict[str, Any]:
    """Return a Prometheus configuration that scrapes every `interval` seconds; nothing else changes.

    Rules are evaluated twice as often: as there, a `for` of one scrape's length is two evaluations.
    """
    config["global"] |= {"scrape_interval": f"{interval}s", "evaluation_interval": f"{interval * 500}ms"}
    config["global"].pop("scrape_timeout", None)
    for job in config["scrape_configs"]:
        job.pop("scrape_interval", None)
        job.pop("scrape_timeout", None)
    return config
