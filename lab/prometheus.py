"""Prometheus in the lab: our `prometheus/` folder with the lab's targets and intervals, and questions to its API."""

from __future__ import annotations

import shutil
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import yaml

import check.prometheus
from check.client import CannotAskError, Client
from lab.server import Server, Target, http_answers
from lab.workspace import ROOT, LabError, Workspace

if TYPE_CHECKING:
    from check.prometheus import Sample
    from check.prometheus import Target as Scraped


class Prometheus(Server):
    """A Prometheus that scrapes every server of the lab that says it is a target.

    Args:
        lab: where it runs.
        interval: seconds between scrapes and between rule evaluations, in place of the configuration's.
    """

    def __init__(self, lab: Workspace, interval: int = 2) -> None:
        super().__init__(lab, "prometheus")
        self.interval = interval
        self.port = lab.ports.reserve()
        self.target = Target("prometheus", "localhost", self.port)

    @property
    def url(self) -> str:
        """The address of its web page and API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """Its web page."""
        return self.url

    def prepare(self) -> None:
        """Copy the operator's folder and fit it to the lab."""
        shutil.copytree(ROOT / "prometheus", self.directory, dirs_exist_ok=True)
        config = self.directory / "prometheus.yml"
        config.write_text(yaml.safe_dump(shortened(yaml.safe_load(config.read_text()), self.interval)))
        self.write_targets()

    def write_targets(self) -> None:
        """Name the servers started so far in the target files; a running Prometheus follows within seconds."""
        targets = [server.target for server in (*self.lab.servers, self) if server.target is not None]
        for file in (self.directory / "targets").glob("*.yml"):
            groups = [
                {"targets": [f"127.0.0.1:{target.port}"], "labels": {"instance": target.instance}}
                for target in dict.fromkeys(targets)
                if target.job == file.stem
            ]
            complete = file.with_suffix(".new")  # renamed, so that Prometheus never reads half a file
            complete.write_text(yaml.safe_dump(groups))
            complete.replace(file)

    def command(self) -> list[str]:
        """Keep its data in the lab's directory."""
        return [
            "prometheus",
            f"--config.file={self.directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-lifecycle",
        ]

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

    def targets(self) -> list[Scraped]:
        """Return every target it scrapes.

        Raises:
            LabError: Prometheus does not answer.
        """
        try:
            return self.api.targets()
        except CannotAskError as error:
            raise self._unanswered(error) from error

    @property
    def api(self) -> check.prometheus.Prometheus:
        """The questions that can be put to it."""
        return check.prometheus.Prometheus(Client(self.url))

    def _unanswered(self, error: CannotAskError) -> LabError:
        return LabError(self.obituary() if self.crashed else str(error))


def shortened(config: dict[str, Any], interval: int) -> dict[str, Any]:
    """Return a Prometheus configuration that scrapes and evaluates every `interval` seconds; nothing else changes."""
    config["global"] |= {"scrape_interval": f"{interval}s", "evaluation_interval": f"{interval}s"}
    config["global"].pop("scrape_timeout", None)
    for job in config["scrape_configs"]:
        job.pop("scrape_interval", None)
        job.pop("scrape_timeout", None)
    return config
