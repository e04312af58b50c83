"""Reads one scrape of an exporter the way Prometheus does, for tests to compare with what they know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from prometheus_client.samples import Sample


class Scrape:
    """One answer of /metrics.

    Args:
        text: in the Prometheus text format.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples: list[Sample] = [s for family in text_string_to_metric_families(text) for s in family.samples]

    def __call__(self, name: str, /, **labels: str) -> float:
        """Return the sum of the samples with this name and these labels. Raises KeyError if there is none."""
        found = [s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        if not found:
            raise KeyError(f"no sample {name}{labels or ''}")
        return sum(found)

    def by(self, name: str, label: str) -> dict[str, float]:
        """Return label value -> sum of the samples with this name, without those that are 0."""
        sums: dict[str, float] = {}
        for s in self.samples:
            if s.name == name and s.value:
                sums[s.labels[label]] = sums.get(s.labels[label], 0) + s.value
        return sums

    @property
    def names(self) -> set[str]:
        """The names of all samples."""
        return {s.name for s in self.samples}


async def scrape(url: str) -> Scrape:
    """Scrape an exporter by the address of its landing page. Raises aiohttp.ClientError."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics", raise_for_status=True) as response:
        return Scrape(await response.text())
