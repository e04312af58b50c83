"""Client of coturn's built-in Prometheus endpoint, where the build has it. It passes the families through.

Debian's builds have no endpoint, the container image has one. The image logs to standard output, so the counts of STUN
bindings, and with `multiplex-peer` of allocations, come from the endpoint. Series with a user name are left out: coturn
adds them with `prometheus-username-labels`, and the names change with every call.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import aiohttp
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LARGEST_ANSWER = 4 << 20
_PATIENCE = aiohttp.ClientTimeout(total=2)
_OURS = ("turn_", "stun_")  # other families are about the process, and would clash with the exporter's own
_NAME = re.compile(r"^[A-Za-z_:][A-Za-z0-9_:]*", re.MULTILINE)
_PERSONAL = frozenset({"user", "username"})


class BuiltInEndpointError(Exception):
    """The endpoint gave nothing usable: one line saying what to do."""


def parse(text: str) -> list[Metric]:
    """Read an answer; a family of which every series is personal is left out. Raises EndpointError."""
    try:
        families = [family for family in text_string_to_metric_families(text) if family.name.startswith(_OURS)]
        for family in families:  # a whole number of hundreds of digits is no float
            family.samples = [sample._replace(value=float(sample.value)) for sample in family.samples]
    except (ValueError, OverflowError) as error:
        raise BuiltInEndpointError("coturn's built-in endpoint does not speak the Prometheus text format") from error
    names = set(_NAME.findall(text))
    kept = []
    for family in families:
        samples = [sample for sample in family.samples if not _PERSONAL & sample.labels.keys()]
        # coturn's counters do not end in `_total`. The parser adds it, and the exposition would add it to a counter.
        if samples and family.type == "counter" and samples[0].name not in names:
            family = Metric(family.name, family.documentation, "unknown")  # noqa: PLW2901 - the same under its true name
            samples = [sample._replace(name=sample.name.removesuffix("_total")) for sample in samples]
        family.samples = samples
        kept += [family] if samples else []
    return kept


def total(families: Iterable[Metric], name: str, **labels: str) -> float | None:
    """The sum over the series of one metric with these labels; None when there is none, or it is not a number."""
    values = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name in {name, f"{name}_total"} and labels.items() <= sample.labels.items()
    ]
    found = sum(values) if values else math.nan
    return found if math.isfinite(found) else None


async def read(url: str) -> Sequence[Metric]:
    """Ask once; the certificate is not verified, as the address is this machine's. Raises EndpointError."""
    try:
        async with aiohttp.ClientSession(timeout=_PATIENCE) as client, client.get(url, ssl=False) as response:
            response.raise_for_status()
            body = await response.content.read(_LARGEST_ANSWER + 1)
            while not response.content.at_eof() and len(body) <= _LARGEST_ANSWER:
                body += await response.content.read(_LARGEST_ANSWER)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise BuiltInEndpointError(f"no answer from coturn's built-in endpoint {url}: {error or 'timeout'}") from error
    if len(body) > _LARGEST_ANSWER:
        raise BuiltInEndpointError(f"coturn's built-in endpoint {url} answers with more than {_LARGEST_ANSWER} bytes")
    return parse(body.decode("utf-8", "replace"))
