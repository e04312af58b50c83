"""Judges the checklist's items: asks Prometheus, runs the probes, reads who attested what. It prints nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from check.client import CannotAskError, one_line
from check.items import ANY
from check.probes import Probed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from check.attestations import Attestation
    from check.items import Item, Need
    from check.prometheus import PrometheusApi, Sample

Status = Literal["ok", "FAIL", "STALE", "UNKNOWN", "YOURS"]
WRONG: Final = frozenset({"FAIL", "STALE", "UNKNOWN"})
_DAY: Final = 86400
_CLOCK: Final = 300  # seconds that a clock may be wrong
_MOST_PLACES: Final = 6  # that one line names
_AT_ONCE: Final = 8  # items whose questions are under way


@dataclass(frozen=True)
class Finding:
    """What an item is now.

    Args:
        detail: what is wrong, where and what to do; who attested; "" if it is ok.
    """

    item: Item
    status: Status
    detail: str = ""

    def __str__(self) -> str:
        text = f"{self.status:<8}{self.item.id:<4}{self.item.text}"
        return f"{text}: {self.detail}" if self.detail else text


@dataclass(frozen=True)
class Sources:
    """Where the answers come from.

    Args:
        prometheus: that watches the service.
        probes: by name, what to run.
        attestations: by item; or one line, why they cannot be known.
        now: seconds since 1970.
    """

    prometheus: PrometheusApi
    probes: Mapping[str, Callable[[], Probed]]
    attestations: Mapping[str, Attestation] | str
    now: float


def judge(items: Iterable[Item], sources: Sources) -> list[Finding]:
    """Return a finding for each item, in the same order."""
    silent = _silent(sources.prometheus)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(lambda item: _finding(item, sources, silent), items))


def _silent(prometheus: PrometheusApi) -> str:
    """Say why Prometheus does not answer at all, so that nobody waits for it at each item; "" if it does."""
    try:
        prometheus.query("vector(1)")
    except CannotAskError as error:
        return str(error)
    return ""


def _finding(item: Item, sources: Sources, silent: str) -> Finding:
    if item.attest:
        return _attested(item, item.attest, sources)
    results = []
    if item.expr:
        try:
            results.append(Probed("UNKNOWN", _unasked(silent)) if silent else _scraped(item, sources.prometheus))
        except CannotAskError as error:
            results.append(Probed("UNKNOWN", _unasked(error)))
    if item.probe:
        results.append(sources.probes[item.probe]())
    status: Status = "ok"
    for worst in ("FAIL", "UNKNOWN"):
        told = [result.text for result in results if result.status == worst]
        if told:
            status = "FAIL" if worst == "FAIL" else "UNKNOWN"
            return Finding(item, status, "; ".join([*told, *([item.action] if worst == "FAIL" else [])]))
    return Finding(item, status)


def _unasked(why: CannotAskError | str) -> str:
    return f"Prometheus cannot be asked: {why}"


def _attested(item: Item, worth: float, sources: Sources) -> Finding:
    if isinstance(sources.attestations, str):
        return Finding(item, "UNKNOWN", sources.attestations)
    word = sources.attestations.get(item.id)
    if word is None:
        return Finding(item, "UNKNOWN", f"nobody has attested it. {item.action}")
    said = f"{word.by}, {word.date}" + (f", {word.note}" if word.note else "")
    if word.at > sources.now + _CLOCK:
        return Finding(item, "UNKNOWN", f"attested in the future ({said}); see this machine's clock")
    if sources.now - word.at >= worth:
        days = (sources.now - word.at) // _DAY
        return Finding(item, "STALE", f"{said}: {days:.0f} days ago, worth {worth // _DAY:.0f}. {item.action}")
    return Finding(item, "YOURS", said)


def _scraped(item: Item, prometheus: PrometheusApi) -> Probed:
    places = prometheus.query(item.expr)
    wrong = [place for place in places if place.value == 0]
    if wrong:
        return Probed("FAIL", _places(wrong))
    doubts = [_lacking(need, missing) for need in item.needs if (missing := prometheus.query(need.missing))]
    if item.unknown and (doubtful := prometheus.query(item.unknown)):
        doubts.append(f"not known while {' '.join(item.unknown.split())} ({_places(doubtful)})")
    if item.unmeasured and (unmeasured := prometheus.query(item.unmeasured)):
        doubts.append(f"nothing measured yet of {_places(unmeasured)}")
    if not doubts and not places:
        doubts.append(f"no data for {' '.join(item.expr.split())}")
    if not doubts and any(place.value != 1 for place in places):
        doubts.append(f"no usable number from {_places([place for place in places if place.value != 1])}")
    return Probed("UNKNOWN", "; ".join(dict.fromkeys(doubts))) if doubts else Probed("ok")


def _lacking(need: Need, missing: Sequence[Sample]) -> str:
    if need.job == ANY:
        return f"no {need.selector}"
    if not any("instance" in place.labels for place in missing):
        return f"Prometheus has no target of the job {need.job}"
    return f"no {need.selector} of {_places(missing)} (job {need.job})"


def _places(samples: Sequence[Sample]) -> str:
    """Name places by their labels, the node first."""
    names = []
    for sample in samples:
        labels = {key: value for key, value in sample.labels.items() if key not in ("__name__", "job", "instance")}
        instance = sample.labels.get("instance", "")
        rest = ", ".join(f"{key} {one_line(value)}" for key, value in sorted(labels.items()) if value)
        job = sample.labels.get("job", "") if not instance and not rest else ""
        names.append(" ".join(word for word in (one_line(instance or job), f"({rest})" if rest else "") if word))
    shown = list(dict.fromkeys(name for name in sorted(names) if name))
    if not shown:
        return "the whole service"
    more = f" and {len(shown) - _MOST_PLACES} more" if len(shown) > _MOST_PLACES else ""
    return ", ".join(shown[:_MOST_PLACES]) + more
