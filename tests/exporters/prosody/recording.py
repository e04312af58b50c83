"""One recorded reading of a real Prosody, and how tests look up what the collector makes of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from exporters.prosody.probe import Observations
from tests.exporters.prosody.fakes import RECORDED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

    from tests.exporters.prosody.exposition import Series

TEXT = json.dumps(json.loads((RECORDED / "prosody-snapshot.json").read_text()))
REGISTRY = (RECORDED / "prosody-13.0.1-registry.txt").read_text()
HOST = "commeazy.com"


def recorded() -> Any:  # noqa: ANN401 - a tree of JSON
    return json.loads(TEXT)


def observed() -> Observations:
    observations = Observations()
    observations.round_trips.observe(0.002)
    observations.login_mechanisms[HOST] = 2
    return observations


def name_of(family: Metric) -> str:
    return family.name + "_total" if family.type == "counter" else family.name


def names(families: Iterable[Metric]) -> set[str]:
    return {name_of(family) for family in families}


def of(found: dict[Series, float], name: str) -> dict[tuple[str, ...], float]:
    """The samples of one name, by their label values in the alphabet's order of the label names."""
    return {tuple(value for _, value in labels): n for (sample, labels), n in found.items() if sample == name}
