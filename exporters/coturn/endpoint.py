"""Client of coturn's built-in Prometheus endpoint, where the build has it. It takes the families as they are.

Series with a user name are left out: coturn has them when it runs with `prometheus-username-labels`, and such names
change with every call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client.core import Metric

_LARGEST_ANSWER = 4 << 20
_PATIENCE = aiohttp.ClientTimeout(total=2)
_OURS = ("turn_", "stun_")  # the rest is the process's, and would clash with the exporter's own
_PERSONAL = frozenset({"user", "username"})


class EndpointError(Exception):
    """The endpoint gave nothing usable: one line saying what to do."""


def parse(text: str) -> list[Metric]:
    """Read an answer; a family of which every series is personal is left out. Raises EndpointError."""
    try:
        families = [family for family in text_string_to_metric_families(text) if family.name.startswith(_OURS)]
    except ValueError as error:
        raise EndpointError("coturn's built-in endpoint does not speak the Prometheus text format") from error
    for family in families:
        family.samples = [sample for sample in family.samples if not _PERSONAL & sample.labels.keys()]
    return [family for family in families if family.samples]


def total(families: Iterable[Metric], name: str, **labels: str) -> float | None:
    """The sum over the series of one metric with these labels; None when there is none."""
    values = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name in {name, f"{name}_total"} and labels.items() <= sample.labels.items()
    ]
    return sum(values) if values else None


async def read(url: str) -> Sequence[Metric]:
    """Ask once. Raises EndpointError."""
    try:
        async with aiohttp.ClientSession(timeout=_PATIENCE) as client, client.get(url) as response:
            response.raise_for_status()
            body = await response.content.read(_LARGEST_ANSWER + 1)
            while not response.content.at_eof() and len(body) <= _LARGEST_ANSWER:
                body += await response.content.read(_LARGEST_ANSWER)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise EndpointError(f"no answer from coturn's built-in endpoint {url}: {error or 'timeout'}") from error
    if len(body) > _LARGEST_ANSWER:
        raise EndpointError(f"coturn's built-in endpoint {url} answers with more than {_LARGEST_ANSWER} bytes")
    return parse(body.decode("utf-8", "replace"))
