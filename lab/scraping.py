"""Reads an exporter's page the way Prometheus does, so that tests and benchmarks can compare it with what they know."""

from __future__ import annotations

import asyncio
import urllib.request
from typing import TYPE_CHECKING

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from prometheus_client.samples import Sample


class ScrapedPage:
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


def page(url: str) -> str:
    """Return the metrics page of a server by the address of its landing page. Raises OSError."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=12) as answer:  # noqa: S310 - a server of the lab
        text: str = answer.read().decode()
    return text


async def scrape(url: str) -> ScrapedPage:
    """Scrape an exporter by the address of its landing page. Raises aiohttp.ClientError."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics", raise_for_status=True) as response:
        return ScrapedPage(await response.text())


async def scrape_until(url: str, name: str, value: float, /, **labels: str) -> ScrapedPage:
    """Scrape until the samples with this name and these labels add up to a value; the caller limits the time."""
    while True:
        metrics = await scrape(url)
        try:
            if metrics(name, **labels) == value:
                return metrics
        except KeyError:
            pass
        await asyncio.sleep(0.1)


async def scrape_settled(url: str) -> ScrapedPage:
    """Scrape a Prosody exporter until it has counted every session that is older than its counting script."""
    return await scrape_until(url, "prosody_exporter_sessions_settled", 1)
