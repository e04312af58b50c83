"""A coturn and its exporter, and what the exporter says; for the live tests of coturn. It asserts nothing by itself."""

from __future__ import annotations

import time
import urllib.request
from typing import TYPE_CHECKING, Self

from prometheus_client.parser import text_string_to_metric_families

from lab.coturn import Coturn
from lab.exporters import Exporter
from lab.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE = 20.0


class Page:
    """One page of metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        self.names = {name for name, _ in self._samples}

    def value(self, name: str, **labels: str) -> float | None:
        """The value of one series, None if there is none."""
        return self._samples.get((name, frozenset(labels.items())))

    def by(self, label: str, name: str) -> dict[str, float]:
        """The values of a metric with one label."""
        return {
            dict(labels)[label]: value for (found, labels), value in self._samples.items() if found == name and value
        }

    @property
    def active(self) -> dict[str, float]:
        """Active allocations by source, and "" for the family everybody uses."""
        samples = self._samples.items()
        found = {dict(labels)["source"]: v for (n, labels), v in samples if n == "coturn_active_allocations_source"}
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
        self.exporter = Exporter(
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
