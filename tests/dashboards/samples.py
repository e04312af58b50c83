"""What panels can ask for: kind and labels of each sample, as the real exporters answer it or the rules record it."""

from __future__ import annotations

import re
from typing import Any

import promql_parser as promql

from alerts.jobs import JOBS
from lab.fakes.recordings import FOLDER, SOURCES, answers
from tests.alerts.promql import TARGET, selectors
from tests.alerts.test_reality import PROMETHEUS_OWN, RECORDINGS, labels_of_recordings

__all__ = ["JOB_OF", "LABELS", "RECORDINGS", "TYPES", "jobs_of"]


def _types() -> dict[str, str]:
    """Return what kind of family each sample belongs to, as the real exporters say it."""
    types = dict.fromkeys((*PROMETHEUS_OWN, *RECORDINGS), "gauge")
    for path in sorted(FOLDER.glob("*.prom")):
        for name, kind in re.findall(r"^# TYPE (\S+) (\w+)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            suffixes = ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)
            types |= {f"{name}{suffix}": "counter" if kind == "histogram" else kind for suffix in suffixes}
    return types


TYPES = _types()
LABELS = dict(PROMETHEUS_OWN)
for _job in SOURCES:
    for _series in answers(_job).values():
        for _name, _sets in _series.items():
            LABELS[_name] = TARGET | frozenset.intersection(
                *map(frozenset, _sets), LABELS.get(_name, frozenset(_sets[0]))
            )
LABELS |= labels_of_recordings(LABELS)
JOB_OF = {name: job for job in SOURCES for series in answers(job).values() for name in series}


def jobs_of(selector: Any) -> set[str]:  # noqa: ANN401 - the parser has no types
    """Return the jobs that a selector's series come from."""
    if selector.name in RECORDINGS:
        return {job for inner in selectors(RECORDINGS[selector.name]) for job in jobs_of(inner)}
    if selector.name != "up":
        return {JOB_OF[selector.name]}
    negated = (promql.MatchOp.NotEqual, promql.MatchOp.NotRe)
    matchers = [m for m in selector.matchers.matchers if m.name == "job"]
    return {job for job in JOBS if all(bool(re.fullmatch(m.value, job)) != (m.op in negated) for m in matchers)}
