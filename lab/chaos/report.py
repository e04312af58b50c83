"""The tables that a run ends with, as Markdown that a terminal can show as well. Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.chaos.processes import WARM
from lab.chaos.table import FAULTS, RECORDED, TWO_SCRAPES, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lab.chaos.caller import Books
    from lab.chaos.judge import Alarm, Verdict
    from lab.chaos.processes import Life


@dataclass
class Result:
    """Everything a run found.

    Args:
        seconds: how long faults were made.
        seed: what decided them.
        verdicts: one for each fault that was done.
        alarms: what was sick without a reason.
        crashes: which of ours ended by themselves, or badly, in words; by the fault meanwhile.
        others: servers that are not ours and ended by themselves.
        books: of the pushes.
        absurd: what the ledger found.
        lives: what our processes held.
        log_lines: that nobody should have to read.
        errors: lines of level error, counted.
        left_out: faults that cannot be made here, and why.
        traffic: what went on meanwhile.
        machine: how busy it was.
    """

    seconds: float
    seed: int
    verdicts: list[Verdict]
    alarms: list[Alarm]
    crashes: list[tuple[str, str]]
    others: list[str]
    books: Books
    absurd: list[str]
    lives: list[Life]
    log_lines: list[str]
    errors: list[str]
    left_out: list[str]
    traffic: str
    machine: str

    @property
    def wrong(self) -> list[str]:
        """Everything that fails the run, in words."""
        return [
            *(lie for verdict in self.verdicts for lie in verdict.lies),
            *(f"{a.statement} was sick for {a.seconds:.1f} s without a reason" for a in self.alarms if a.lasting),
            *(f"{during}: {text}" for during, text in self.crashes),
            *self.books.wrong,
            *self.absurd,
            *(leak for life in self.lives for leak in life.leaks),
            *(f"in a log: {line}" for line in self.log_lines),
        ]


def lines(result: Result) -> list[str]:
    """Return the whole report."""
    short = [alarm for alarm in result.alarms if not alarm.lasting]
    wrong, books = result.wrong, result.books
    return [
        "# Chaos",
        "",
        f"Written by `make chaos` after {result.seconds / 60:g} minutes with seed {result.seed}.",
        f"{len(result.verdicts)} faults, one or two at a time. {result.machine}",
        f"Traffic meanwhile: {result.traffic}",
        "",
        "**Nothing was wrong.**" if not wrong else f"**{len(wrong)} things were wrong:**",
        *(["", *(f"- {one}" for one in wrong)] if wrong else []),
        "",
        "## Faults",
        "",
        "How long a fault was not seen, and how long its end was not. Prometheus scrapes every 2 s and gives a scrape",
        f"2 s: within {TWO_SCRAPES:g} s (two scrapes, what the second may take, and 1 s for asking; a rule's result an",
        "evaluation later) whatever a scrape can tell must be told. *probe*: statements that have an interval of their",
        "own (probes of certificates and of coturn, HAProxy's checks, a provider's signs of life); *of* is the bound.",
        "*healthy*: until all was said to be healthy again, after the mending. In seconds, median and worst.",
        "",
        "| fault | times | scrape | worst | of | probe | worst | of | healthy | worst | lies | crashes |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        *_fault_rows(result),
        *_list("Left out here", result.left_out),
        "",
        "A dash: nothing must show (a slow server may be late or not, a clock that steps must change nothing), or the",
        "fault never lasted until then, or another fault hid it.",
        "",
        "## Pushes",
        "",
        "Beside the users' pushes each gateway was asked for a call and a message a second:",
        f"{books.asked} in all. {books.sent} were sent, by the gateways' word; {books.arrived} reached their provider,",
        f"{books.repeated} of them twice as one push, tried again after its connection was lost.",
        f"Lost or doubled with nothing broken in their way, or said to be sent and not arrived: {len(books.wrong)}.",
        "",
        "## What our processes held",
        "",
        f"Each server's longest life, from {WARM:g} s after its start to the end.",
        "",
        "| process | seconds | memory, MB | then | descriptors | then | threads | then |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
        *(_life_row(life) for life in result.lives),
        *_list("Sick for less than two scrapes without a reason", [f"{a.statement}, {a.seconds:.1f} s" for a in short]),
        *_list("Errors that our programs logged", result.errors),
        *_list("Servers of others that ended by themselves, and were started again", result.others),
    ]


def _fault_rows(result: Result) -> list[str]:
    rows = []
    for fault in FAULTS:
        verdicts = [verdict for verdict in result.verdicts if verdict.fault is fault]
        if not verdicts:
            continue
        healed = [max(verdict.healed.values()) for verdict in verdicts if verdict.healed]
        lies = sum(len(verdict.lies) for verdict in verdicts)
        crashes = sum(fault.name in during for during, _ in result.crashes)
        cells = [
            *(fault.name, str(len(verdicts))),
            *_shown(verdicts, fault, probed=False),
            *_shown(verdicts, fault, probed=True),
            *_middle_and_worst(healed),
            *(str(lies), str(crashes)),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _shown(verdicts: Sequence[Verdict], fault: Fault, *, probed: bool) -> tuple[str, str, str]:
    """Seconds until the last statement of one sort was true, and the most that was allowed to one that had the time."""
    bounds = {name: bound for name, bound in fault.must.items() if (bound > RECORDED) is probed}
    each = [{name: after for name, after in verdict.shown.items() if name in bounds} for verdict in verdicts]
    shown = [max(one.values()) for one in each if one]
    allowed = max((bounds[name] for one in each for name in one), default=None)
    return (*_middle_and_worst(shown), _number(allowed))


def _middle_and_worst(values: Sequence[float]) -> tuple[str, str]:
    return (_number(statistics.median(values)), _number(max(values))) if values else ("-", "-")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _life_row(life: Life) -> str:
    warm, last = life.warm, life.last
    cells = [
        life.server, f"{life.seconds:.0f}", f"{warm.memory / 1e6:.1f}", f"{last.memory / 1e6:.1f}",
        str(warm.descriptors), str(last.descriptors), str(warm.threads), str(last.threads),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _list(title: str, items: Iterable[str]) -> list[str]:
    found = [f"- {item}" for item in items]
    return ["", f"{title}:", "", *found] if found else []
