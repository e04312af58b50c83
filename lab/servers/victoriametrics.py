"""VictoriaMetrics and vmalert in the lab: a store for a longer history, and our rules evaluated on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from check.client import CannotAskError, HttpClient
from lab.running.server import WebServer, Workspace, http_answers, tcp_accepts

if TYPE_CHECKING:
    from pathlib import Path


class VictoriaMetrics(WebServer):
    """A VictoriaMetrics.

    Args:
        lab: where it runs.
        scrape: a file of targets that it scrapes itself; None for none.
        interval: seconds between two samples of a series that it keeps; 0 for all.
    """

    def __init__(self, lab: Workspace, scrape: Path | None = None, interval: int = 0) -> None:
        super().__init__(lab, "victoriametrics")
        self._scrape, self._interval = scrape, interval

    def command(self) -> list[str]:
        """Keep its data in the lab's directory."""
        return [
            "victoria-metrics",
            f"-storageDataPath={self.directory / 'data'}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-search.latencyOffset=0s",
            *([f"-promscrape.config={self._scrape}"] if self._scrape else []),
            *([f"-dedup.minScrapeInterval={self._interval}s"] if self._interval else []),
        ]

    def is_ready(self) -> bool:
        """Use its own page."""
        return http_answers(f"{self.url}/health")


class Vmalert(WebServer):
    """A vmalert on these rules, which writes what it records back; more flags are optional."""

    def __init__(self, database: VictoriaMetrics, rules: Path, *flags: str) -> None:
        super().__init__(database.lab, "vmalert")
        self._database, self._rules, self._flags = database, rules, flags

    def command(self) -> list[str]:
        """Send alerts nowhere: nobody listens there."""
        return [
            "vmalert",
            f"-rule={self._rules}/*.yaml",
            f"-datasource.url={self._database.url}",
            f"-remoteWrite.url={self._database.url}",
            f"-remoteRead.url={self._database.url}",
            "-notifier.url=http://127.0.0.1:9",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            *self._flags,
        ]

    def is_ready(self) -> bool:
        """It listens."""
        return tcp_accepts(self.port)

    def groups(self) -> list[dict[str, Any]]:
        """Return the groups of rules as it has them."""
        api = HttpClient(self.url)
        try:
            found: list[dict[str, Any]] = api.ask("api/v1/rules")["data"]["groups"]
        except CannotAskError:
            found = api.ask("api/v1/groups")["data"]["groups"]  # before 1.80
        return found
