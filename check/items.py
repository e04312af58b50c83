"""Reads checklist.yaml, the 68 items of the specification's Section 20; says each in PromQL. It judges nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

from toolkit.values import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

ANY: Final = "any"  # in place of a job: one series is enough
# After this many seconds without a run of `commeazy-check --checklist --textfile`, what its probes saw counts no more.
RUN_AGE: Final = 3600
RUN: Final = "checklist_run_timestamp_seconds"
PROBED: Final = "checklist_probe_ok"
ATTESTED: Final = "checklist_attested_timestamp_seconds"
RECORDED: Final = "checklist_item"


@dataclass(frozen=True)
class Need:
    """What must have data for an item to be known.

    Args:
        selector: PromQL.
        job: every target of this job must have it; ANY for "one series is enough".
    """

    selector: str
    job: str

    @property
    def missing(self) -> str:
        """PromQL with a series for each place that lacks it; one without an instance if the job has no target."""
        if self.job == ANY:
            return f"absent({self.selector})"
        targets = f'up{{job="{self.job}"}}'
        return f"{targets} unless on (instance) {self.selector} or absent({targets})"


@dataclass(frozen=True)
class Item:
    """One item of Section 20; see the head of checklist.yaml for the fields.

    Args:
        id: letter of the section and number, such as A1.
        text: what must be true.
        attest: seconds after which a person's word is stale; None where a machine judges.
        expr: PromQL, "" for none.
        probe: of `check.probes`, "" for none.
    """

    id: str
    text: str
    why: str
    action: str
    blind: str
    expr: str = ""
    probe: str = ""
    attest: float | None = None
    needs: tuple[Need, ...] = ()
    unknown: str = ""
    unmeasured: str = ""

    @property
    def section(self) -> str:
        """The letter."""
        return self.id[0]

    @property
    def judged_by(self) -> str:
        """How it is judged: attest, expr, probe, or expr and probe."""
        return "attest" if self.attest else " and ".join(word for word in ("expr", "probe") if getattr(self, word))

    @property
    def recorded(self) -> str:
        """PromQL of its recording rule: 1 is ok, 0 is FAIL or STALE, no sample is UNKNOWN."""
        if self.attest:
            return f'time() - max({ATTESTED}{{id="{self.id}"}}) < bool {self.attest:.0f}'
        needs, unknown, value = self.needs, [each for each in (self.unknown, self.unmeasured) if each], self.expr
        if self.probe:
            probed = f'{PROBED}{{id="{self.id}"}}'
            value = f"{value} or {probed}" if value else probed
            needs = (*needs, Need(probed, ANY))
            unknown = [*unknown, f"time() - {RUN} > {RUN_AGE}"]
        doubts = [f"group({each})" for each in (*(need.missing for need in needs), *unknown)]
        known = "\n  or ".join(doubts)
        return f"min({value}) == 0\nor\nmin({value}) == 1 unless on () (\n  {known}\n)"


@dataclass(frozen=True)
class Checklist:
    """The items by id in the specification's order, and the sections' titles by letter."""

    items: Mapping[str, Item]
    sections: Mapping[str, str]

    def of(self, letters: str) -> tuple[Item, ...]:
        """Return the items of these sections; all of them for ""."""
        return tuple(item for item in self.items.values() if not letters or item.section in letters)


@dataclass
class _Raw:
    """An entry as the file has it."""

    id: str
    item: str
    why: str
    do: str
    blind: str
    expr: str = ""
    probe: str = ""
    attest: str = ""
    needs: dict[str, list[str]] = field(default_factory=dict)
    unknown: str = ""
    unmeasured: str = ""


@cache
def checklist() -> Checklist:
    """Read the checklist that is installed with this package."""
    import yaml  # noqa: PLC0415 - only this command pays for it

    data = yaml.safe_load((resources.files(__package__) / "checklist.yaml").read_text(encoding="utf-8"))
    items = [_item(_Raw(**entry)) for entry in data["items"]]
    return Checklist({item.id: item for item in items}, dict(data["sections"]))


def _item(raw: _Raw) -> Item:
    needs = tuple(Need(selector, job) for job, selectors in raw.needs.items() for selector in selectors)
    attest = duration(raw.attest) if raw.attest else None
    doubts = raw.unknown, raw.unmeasured
    return Item(raw.id, raw.item, raw.why, raw.do, raw.blind, raw.expr, raw.probe, attest, needs, *doubts)
