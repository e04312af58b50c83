"""A coturn and its exporter, and what the exporter says; for the live tests of coturn. It asserts nothing by itself."""

from __future__ import annotations

import time
import urllib.request
from typing import TYPE_CHECKING, Self

from lab.running.server import Workspace
from lab.scraping import ScrapedPage
from lab.servers.coturn import Coturn
from lab.servers.exporters import ExporterProcess

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE = 120.0


class Page(ScrapedPage):
    """One page of the coturn exporter."""

    def value(self, name: str, **labels: str) -> float | None:
        """The value of one metric, None if there is none."""
        try:
            return self(name, **labels)
        except KeyError:
            return None

    @property
    def active(self) -> dict[str, float]:
        """Active allocations by source, and "" for the family everybody uses."""
        found = {s.labels["source"]: s.value for s in self.samples if s.name == "coturn_active_allocations_source"}
        best = self.value("coturn_active_allocations")
        return found if best is None else {"": best, **found}


class CoturnLab(Workspace):
    """One coturn and one exporter that probes it often.

    Args:
        config: lines of turnserver.conf that win over the lab's.
        probe_interval: seconds between the exporter's probes.
        exporter: whether to start it; without it no probe takes a relay.
    """

    def __init__(self, config: str = "", probe_interval: float = 1.0, *, exporter: bool = True) -> None:
        super().__init__()
        self._with_exporter = exporter
        self.coturn = Coturn(self, config=config)
        self.exporter = ExporterProcess(
            self,
            "coturn",
            instance="turn1",
            flags=lambda: [
                f"--coturn.config={self.coturn.config_file}",
                f"--coturn.probe-interval={probe_interval}",
            ],
        )

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.coturn.start()
            if self._with_exporter:
                self.exporter.start()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def scrape(self) -> Page:
        """Scrape once."""
        with urllib.request.urlopen(f"{self.exporter.url}/metrics", timeout=12) as answer:
            return Page(answer.read().decode())

    def until(self, holds: Callable[[Page], object]) -> Page:
        """Scrape until this holds; the page of that moment, or AssertionError with the last one."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            page = self.scrape()
            if holds(page):
                return page
            assert time.monotonic() < deadline, f"it did not come to hold; the last page:\n{page.text}"
            time.sleep(0.1)
