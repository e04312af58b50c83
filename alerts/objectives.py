"""Reads the objectives: what Section 1 promises, and the counters that measure it. It writes no rule."""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from alerts.jobs import JOBS
from alerts.thresholds import SEVERITIES
from toolkit.documents import ConfigError, Section, compose, entries
from toolkit.values import duration

if TYPE_CHECKING:
    from collections.abc import Collection

DEFAULTS: Final = Path(__file__).with_name("objectives.yaml")
SERVICE: Final = "commeazy"
_CONNECTIONS: Final = "connections"
# The label that names these nodes as alerts do; what happens on one of them is that node's doing.
_LABELS: Final = ("instance", "from", "to")
_KEYS: Final = (
    *("objective", "window", "good", "total", "nodes", "jobs", "minimum", "severity", "causes", "section", "reason"),
)
# A label's value holds no " + " or " - ": these stand between two counters.
_VALUE: Final = r'"(?:(?! [-+] )[^"\\]|\\["\\nrt])*"'
_MATCHER: Final = rf"[a-zA-Z_]\w*\s*(?:=~|!~|!=|=)\s*{_VALUE}"
_COUNTER: Final = rf"[a-z][a-z0-9_]*_(?:total|count|bucket)(?:\{{(?:{_MATCHER}(?:\s*,\s*{_MATCHER})*)?\}})?"
_SUM: Final = re.compile(rf"{_COUNTER}(?: [-+] {_COUNTER})*", re.ASCII)
_EXPRESSION: Final = re.compile(rf"[=!]~\s*({_VALUE})")
_LEAST: Final = 90  # per cent: of much less, not even a total outage burns fast enough to page
_BURNS: Final = ("PromiseBurnsFast", "PromiseBurnsSlowly", "PromiseNotMeasured", "KnownCause")
_DAY: Final = 86400
_DAYS: Final = (7, 365)  # the shortest window that holds every alert's, and a year


@dataclass(frozen=True)
class Objective:
    """One promise.

    Attributes:
        name: in `sloth_slo`.
        percent: of all events that must be good.
        days: over how many days.
        good, total: counters of events, added and subtracted.
        nodes: the labels that name the nodes of an event.
        jobs: the job that measures, then the others it needs.
        minimum: the least number of bad events, in half an hour for a page, in a ticket's longer window.
        severity: critical, warning or none.
        causes: critical alerts that explain why the budget burns.
        section: of the specification.
        reason: why these numbers, and what breaks the promise.
    """

    name: str
    percent: float
    days: int
    good: str
    total: str
    nodes: tuple[str, ...]
    jobs: tuple[str, ...]
    minimum: int
    severity: str
    causes: tuple[str, ...]
    section: str
    reason: str

    @property
    def labels(self) -> dict[str, str]:
        """The labels by which sloth's rules and dashboards know it."""
        return {"sloth_id": f"{SERVICE}-{self.name}", "sloth_service": SERVICE, "sloth_slo": self.name}


@dataclass(frozen=True)
class Promises:
    """All that is promised.

    Attributes:
        objectives: the promises of a share of events, by name.
        connections: how many sessions there may be at the same time.
    """

    objectives: dict[str, Objective]
    connections: int

    def measured(self, without: Collection[str] = ()) -> Promises:
        """Return what has rules: severity none switches an objective off, and so does a job without targets."""
        kept = {
            name: each
            for name, each in self.objectives.items()
            if each.severity != "none" and not {*each.jobs} & {*without}
        }
        return replace(self, objectives=kept)


def load(alerts: Collection[str], overrides: Path | None = None) -> Promises:
    """Read the objectives and, over them, what another file says differently.

    Args:
        alerts: the names of all alerts.
        overrides: a file of the same shape in which a promise names its reason and whatever differs.

    Raises ConfigError for the first thing wrong in either file.
    """
    fields = _read(DEFAULTS)
    for name, section in _read(overrides, fields).items() if overrides else ():
        if "reason" not in section.values:
            section.wrong("reason", "must be given: say why the number is what it is")
        section.values = fields[name].values | section.values
        fields[name] = section
    connections = _connections(fields.pop(_CONNECTIONS))
    return Promises({name: _objective(name, section, alerts) for name, section in fields.items()}, connections)


def _read(path: Path, known: Collection[str] | None = None) -> dict[str, Section]:
    """Read a file's promises by name; if `known` is given, there may be no others."""
    root = compose(path, "--objectives")
    if not isinstance(root, yaml.MappingNode) or not root.value:
        raise ConfigError(path, None, "holds no promises; write `message-delivered:` and, indented, its keys")
    found = {}
    for name, line, node in entries(path, root, "the file").values():
        if known is not None and name not in known:
            raise ConfigError(path, line, f"there is no promise {name}; there are {', '.join(known)}")
        keys = _KEYS if name != _CONNECTIONS else ("sessions", "section", "reason")
        found[name] = Section(path, node, name, keys)
    return found


def _objective(name: str, section: Section, alerts: Collection[str]) -> Objective:
    for key in _KEYS:
        if key not in section.values:
            section.wrong(key, "must be given")
    if (severity := section.text("severity")) not in SEVERITIES:
        section.wrong("severity", f"must be one of {', '.join(SEVERITIES)}")
    percent = _number(section, "objective")
    if not _LEAST <= percent < 100:  # noqa: PLR2004 - per cent
        section.wrong("objective", f"must be per cent from {_LEAST} to below 100, such as 99.9")
    causes = _among(section, "causes", alerts, least=0)
    for cause in causes:
        if cause in _BURNS:
            section.wrong("causes", f"has {cause!r}, which says no more than the promise")
    return Objective(
        name=name,
        percent=percent,
        days=_days(section),
        good=_sum(section, "good"),
        total=_sum(section, "total"),
        nodes=_among(section, "nodes", _LABELS),
        jobs=_among(section, "jobs", JOBS),
        minimum=_count(section, "minimum", "events"),
        severity=severity,
        causes=causes,
        section=section.text("section"),
        reason=" ".join(section.text("reason").split()),
    )


def _number(section: Section, key: str) -> float:
    try:
        number = float(section.text(key))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        section.wrong(key, "must be a number")
    return number


def _count(section: Section, key: str, of: str) -> int:
    number = _number(section, key)
    if number < 1 or number != int(number):
        section.wrong(key, f"must be a whole number of {of}, at least 1")
    return int(number)


def _connections(section: Section) -> int:
    """Check the one promise that is no share of events."""
    for key in ("section", "reason"):
        section.text(key)
    return _count(section, "sessions", "sessions")


def _days(section: Section) -> int:
    try:
        days = duration(section.text("window")) / _DAY
    except ArgumentTypeError:
        days = 0
    if days != int(days) or not _DAYS[0] <= days <= _DAYS[1]:
        section.wrong("window", f"must be whole days, {_DAYS[0]}d to {_DAYS[1]}d, such as 30d")
    return int(days)


def _sum(section: Section, key: str) -> str:
    text = " ".join(section.text(key).split())
    if not _SUM.fullmatch(text):
        section.wrong(key, 'must be counters, with + or - between them: requests_total{code="200"} - retries_total')
    for value in _EXPRESSION.findall(text):
        expression = value[1:-1].replace("\\\\", "\\")
        try:
            re.compile(expression)
        except re.error:
            section.wrong(key, f"has {expression!r}, which is no regular expression")
    return text


def _among(section: Section, key: str, known: Collection[str], least: int = 1) -> tuple[str, ...]:
    names = section.texts(key)
    for name in names:
        if name not in known:
            section.wrong(key, f"has {name!r}, which does not exist")
    if len(names) < least:
        section.wrong(key, "must name at least one")
    return names
