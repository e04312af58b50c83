"""The stories of each promise and what its rules must make of them, as promtool's test files. Runs nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.alerts.promises import (
    COUNTERS,
    GAP,
    PAIRS,
    SLOW,
    Case,
    Segment,
    Story,
    beside,
    case,
    of_promise,
    rule_groups,
    series,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_BEFORE: Final = (
    (5, 1200, 0),
    (60, 20, 0),
)  # five hours' worth of events, then an hour; what happens begins at minute 66
_ALWAYS: Final = {slo: 9 if counters.places is PAIRS else 3 for slo, counters in COUNTERS.items()}  # places

# By objective: when a total outage pages, when the outage of one node of three does, and what each page says.
OUTAGE: Final = {
    "message-delivered": (68, "50.0"),
    "message-fast": (76, "18.3"),
    "login": (68, "50.0"),
    "presence-gone": None,
    "call-push": (76, "18.3"),
    "turn": (68, "50.0"),
}
ONE_NODE: Final = {
    "message-delivered": (69, "37.0"),
    "message-fast": (83, "16.7"),
    "login": (70, "27.8"),
    "presence-gone": None,
    "call-push": (93, "15.6"),
    "turn": (70, "27.8"),
}
# After ten minutes of outage: the last minute of the page, and its burn. Of 99.9 % the six hours keep it.
RECOVERED: Final = {
    "message-delivered": (104, "25.1"),
    "message-fast": (79, "16.7"),
    "login": (104, "25.1"),
    "presence-gone": None,
    "call-push": (79, "16.7"),
    "turn": (104, "25.1"),
}
# For how many minutes an outage of half an hour, and then the half hour in which the windows hold it, burns too fast.
BURNED: Final[dict[str, int | None]] = {
    "message-delivered": 57,
    "message-fast": 17,
    "login": 54,
    "presence-gone": None,
    "call-push": 6,
    "turn": 54,
}
# In a silent night: so many failures wake nobody, and one more does, so many minutes later.
FEW: Final = {"message-delivered": 2, "message-fast": 4, "login": 2, "presence-gone": 4, "call-push": 4, "turn": 2}


def _from(expected: tuple[int, str] | None, node: str = "") -> dict[int, tuple[str, str] | None]:
    """Return that there is no page a minute before, and one then."""
    return {expected[0] - 1: None, expected[0]: (node, expected[1])} if expected else {95: None}


def _until(expected: tuple[int, str] | None) -> dict[int, tuple[str, str] | None]:
    """Return that there is a page, and a minute later none."""
    return {expected[0]: ("", expected[1]), expected[0] + 1: None} if expected else {76: None}


def stories(slo: str) -> Iterator[Story]:
    """Yield what may happen to one promise."""
    second = ("prosody2", "coturn2")
    first = COUNTERS[slo].places[0]
    percent = "100.0" if slo in ("message-fast", "presence-gone", "call-push") else "1000.0"
    down = (30, 0, 20)
    yield Story("total outage", lambda _: (*_BEFORE, down), _from(OUTAGE[slo]))
    yield Story(
        "one node of three",
        lambda place: (*_BEFORE, down if {*place} & {*second} else (30, 20, 0)),
        _from(ONE_NODE[slo], "coturn2" if slo == "turn" else "prosody2"),
    )
    bad = SLOW[slo][1]
    yield Story(
        "everything is slow",
        lambda _: (*_BEFORE, down),
        _from(OUTAGE[slo] if bad else None),
        [("slo:sli_error:ratio_rate5m", 95, int(bad))],
        late=True,
    )
    lost = ((66, 1, 0), (1, 0, 1), (20, 1, 0))
    yield Story(
        "one lost probe", lambda place: lost if place == first else ((87, 1, 0),), {67: None, 69: None, 72: None}
    )
    for more in (0, 1):
        failed = FEW[slo] + more
        quiet = ((5, 100, 0), (60, 0, 0), (failed, 0, 1), (20, 0, 0))
        pages = {67 + failed: (first[0], percent) if more and slo != "presence-gone" else None}
        yield Story(
            f"{failed} failures in a silent night",
            lambda place, quiet=quiet: quiet if place == first else ((sum(each[0] for each in quiet), 0, 0),),  # type: ignore[misc]
            pages,
        )
    yield Story(
        "a gap",
        lambda _: (*_BEFORE, (20, *GAP), (20, 20, 0)),
        {66: None, 87: None, 95: None},
        [("slo:bad_events:increase1h", 90, 0)],
    )
    yield Story(
        "a restart sets the counters to zero",
        lambda _: (*_BEFORE, (1, -2, 0), (20, 20, 0)),
        {66: None, 68: None, 80: None},
        [("slo:bad_events:increase1h", 80, 0)],
    )
    yield Story(
        "an outage in the first minutes of measuring",
        lambda _: (down,),
        {10: None, 30: None},
        [("slo:period_error_budget_remaining:ratio", 30, None), ("slo:measured:seconds", 30, 1800)],
        young=True,
    )
    yield Story(
        "nothing happens at all",
        lambda _: ((70, 0, 0),),
        {70: None},
        [
            ("slo:sli_error:ratio_rate1h", 70, None),
            ("slo:current_burn_rate:ratio", 70, None),
            ("slo:period_error_budget_remaining:ratio", 70, None),
        ],
    )
    yield returned(slo)
    yield Story("recovered after ten minutes", lambda _: (*_BEFORE, (10, 0, 20), (45, 20, 0)), _until(RECOVERED[slo]))


def returned(slo: str) -> Story:
    """Return half an hour without a node, whose users fail a minute longer, and later two lost probes elsewhere."""
    first, second = COUNTERS[slo].places[0], ("prosody2", "coturn2")
    before = ((5, 60, 0), (60, 1, 0))
    burns = 'ALERTS{alertname="PromiseBurnsFast",alertstate="firing"}'
    alone = f'{burns} unless on (instance) ALERTS{{alertname="KnownCause",of="node"}}'

    def segments(place: tuple[str, ...]) -> tuple[Segment, ...]:
        if {*place} & {*second}:
            return (*before, (31, 0, 1), (64, 1, 0))
        lost = int(place == first)
        return (*before, (55, 1, 0), (1, 1 - lost, lost), (28, 1, 0), (1, 1 - lost, lost), (10, 1, 0))

    return Story(
        "a node is back, and the windows still hold its outage",
        segments,
        {},
        [(f"count_over_time({burns}[95m])", 160, BURNED[slo]), (f"count_over_time(({alone})[95m:1m])", 160, None)],
        down=range(67, 96),
    )


# The pages about a whole service that explain each promise's burn. Those of a node have a rule of their own.
_SERVICE: Final = ("HaproxyNoNodes", "HaproxyBackendNodesLow")
CAUSES: Final[dict[str, tuple[str, ...]]] = {
    "message-delivered": (*_SERVICE, "SyntheticMessagesFailing", "SyntheticLoginsFailing"),
    "message-fast": (*_SERVICE, "SyntheticMessagesFailing", "SyntheticLoginsFailing"),
    "login": (
        *("ProsodyLoginsFail", "ProsodyWebSocketLoginsImpossible", *_SERVICE),
        *("PostgresDown", "PostgresNoPrimary", "CertificateNotTrusted", "SyntheticLoginsFailing"),
    ),
    "presence-gone": (),
    "call-push": ("PushProviderUnreachable", "PushVoipCredentialsInvalid"),
    "turn": ("SyntheticTurnCredentialsFailing",),
}
_NO_CAUSES: Final = (
    ("ProsodyStoresMessages", "critical", "firing"),
    ("HaproxyNoNodes", "warning", "firing"),
    ("SyntheticLoginsFailing", "critical", "pending"),
    ("ProsodyDown", "critical", "firing"),
)


def _explained(slo: str, told: Case) -> Case:
    """Let one cause fire in each hour, then what is none; ask each time, 34 minutes later, whether one is known."""
    every = [*((name, "critical", "firing") for name in CAUSES[slo]), *_NO_CAUSES]
    if CAUSES[slo]:
        every.append((CAUSES[slo][0], "critical", "firing"))  # too long ago
    for hour, (alert, severity, state) in enumerate(every, start=1):
        labels = f'alertname="{alert}",severity="{severity}",alertstate="{state}",instance="x{hour}"'
        ago = 34 if hour <= len(CAUSES[slo]) + len(_NO_CAUSES) else 36
        told["input_series"].append({"series": f"ALERTS{{{labels}}}", "values": f"_x{60 * hour - ago} 1 _x60"})
        known = [{"labels": "{}", "value": 1}] if hour <= len(CAUSES[slo]) else []
        expr = of_promise("slo:known_cause:bool", slo)
        ask = {"expr": f"sum({expr})", "eval_time": f"{60 * hour}m", "exp_samples": known}
        told["promql_expr_test"].append(ask)
    return told


def chronicle(slo: str) -> Case:
    """Return fourteen hours and what is recorded of them: bad events 3, 20, 50, 90, 300, 600 minutes ago at one place.

    At another place one is bad, ten minutes ago. A second exporter sees the first place, too.
    """
    counters, places = COUNTERS[slo], _ALWAYS[slo] + 1
    first = counters.places[0]
    bursts = (
        *_minutes(600 - 300, 32),
        *_minutes(300 - 90, 16),
        *_minutes(90 - 50, 8),
        *_minutes(50 - 20, 4),
        *_minutes(20 - 3, 2),
    )
    told_of = {
        first: ((239, 1, 0), *bursts, (1, 1, 1), (3, 1, 0)),
        counters.places[-1]: ((829, 1, 0), (1, 1, 1), (10, 1, 0)),
    }
    bad = {"5m": 1, "30m": 4, "1h": 8, "2h": 16, "6h": 32}
    minutes = {"5m": 5, "30m": 30, "1h": 60, "2h": 120, "6h": 360}
    asks: list[tuple[str, int, float | None]] = []
    for window, events in bad.items():
        every = places * minutes[window] + events
        asks.append((f'slo:bad_events:increase{window}{{sloth_window="{window}"}}', 840, events))
        asks.append((f'slo:events:increase{window}{{sloth_window="{window}"}}', 840, every))
    budget = 0.01 if slo in ("message-fast", "presence-gone", "call-push") else 0.001
    severity = "warning" if slo == "presence-gone" else "critical"
    info = f'severity="{severity}",sloth_mode="generate-rules",sloth_objective="{100 - 100 * budget:g}"'
    asks += [
        (f"slo:bad_events:by_place30m{{{counters.place.format(*first)}}}", 840, 3),
        ("count(slo:bad_events:by_place30m)", 840, 2),
        ("slo:bad_events:by_place30m", 720, None),
        ("slo:error_budget:ratio", 840, budget),
        ("slo:objective:ratio", 840, 1 - budget),
        ("slo:time_period:days", 840, 30),
        ("slo:bad_events:minimum", 840, FEW[slo] + 1),
        (f"sloth_slo_info{{{info}}}", 840, 1),
        ("slo:due:rate", 840, 0.2 if slo == "call-push" else places / 64 / 0.9),
    ]
    story = Story("what each short window holds", lambda place: told_of.get(place, ((840, 1, 0),)), {}, asks)
    told = case(slo, story)
    other = counters.source.replace("main", "paris") if counters.journeys else f'{counters.source},vantage="paris"'
    told["input_series"] += series(replace(counters, source=other), first, ((840, 1, 0),))
    for journey in counters.journeys:
        interval = f'synthetic_journey_interval_seconds{{{other},journey="{journey}"}}'
        told["input_series"].append({"series": interval, "values": "64x840"})
    told["input_series"] += beside(counters)
    return _explained(slo, told)


def young(slo: str) -> Case:
    """Return three hours of which the first half hour was not measured, evaluated every hour."""
    counters = COUNTERS[slo]
    since = "slo:measured_since:timestamp_seconds"
    asks: list[tuple[str, int, float | None]] = [
        (since, 0, None),
        (since, 60, 3600),
        (since, 180, 3600),
        ("slo:measured:seconds", 180, 7200),
        ("slo:coverage:ratio", 60, None),
    ]
    if slo != "call-push":
        asks.append(("slo:coverage:ratio", 180, 1))  # more was made than was due
    told = case(slo, Story("since when it is measured", lambda _: ((6, 2000, 0),), {}, asks, young=True), "30m")
    for given in told["input_series"]:
        if any(given["series"].startswith(name) for name in (*counters.good, *counters.bad)):
            given["values"] = f"_ {given['values']}"
    told["input_series"] += [each for each in beside(counters) if since not in each["series"]]
    return told


def ticket(slo: str) -> Case:
    """Return a good day, an hour of outage and seven good hours, and when that is a ticket; of each promise it is."""
    asks: list[tuple[str, int, float | None]] = [
        ('ALERTS{alertname="PromiseBurnsSlowly",alertstate="firing",severity="warning"}', minute, fires)
        for minute, fires in ((24 * 60 + 15, None), (24 * 60 + 30, 1), (30 * 60 + 45, 1), (31 * 60, None))
    ]
    story = Story("an hour of outage is a ticket", lambda _: ((96, 20, 0), (4, 0, 20), (30, 20, 0)), {}, asks)
    return case(slo, story, "15m")


def _minutes(apart: int, bad: int) -> tuple[Segment, Segment]:
    """Return a minute with these bad events, and good minutes until the next."""
    return (1, 1, bad), (apart - 1, 1, 0)


def years(slo: str) -> Case:
    """Return sixty days, six hours a step, with bad events half a day, 2, 5, 20 and 50 days ago."""
    counters, places = COUNTERS[slo], _ALWAYS[slo]
    first = counters.places[0]
    bursts = (*_minutes(200 - 80, 16), *_minutes(80 - 20, 8), *_minutes(20 - 8, 4), *_minutes(8 - 2, 2))
    busy = ((39, 1, 0), *bursts, (1, 1, 1), (2, 1, 0))
    end = 60 * 24 * 60
    asks: list[tuple[str, int, float | None]] = []
    for window, days, events in (("1d", 1, 1), ("3d", 3, 3), ("30d", 30, 15)):
        every = 4 * days * places + events
        asks.append((f'slo:bad_events:increase{window}{{sloth_window="{window}"}}', end, events))
        asks.append((f'slo:events:increase{window}{{sloth_window="{window}"}}', end, every))
    budget = 0.01 if slo in ("message-fast", "presence-gone", "call-push") else 0.001
    burn = 15 / (120 * places + 15) / budget
    made, due = (3 * 121, 0.2) if slo == "call-push" else (120 * places + 15, places / 64 / 0.9)
    asks += [
        ("slo:period_burn_rate:ratio", end, burn),
        ("slo:period_error_budget_remaining:ratio", end, 1 - burn),
        ("slo:measured:seconds", end, 2_592_000),
        ("slo:coverage:ratio", end, made / (due * 2_592_000)),
    ]
    story = Story("what each long window holds", lambda place: busy if place == first else ((240, 1, 0),), {}, asks)
    told = case(slo, story, "6h")
    told["input_series"] += beside(counters)
    return told


def files(slos: Sequence[str], kinds: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return promtool's test files by name, without the rules: those of each promise are in `rule_groups`."""
    found = {}
    for slo in slos:
        for name, rules, every, cases in (
            ("stories", "page", "1m", [case(slo, story) for story in stories(slo)]),
            ("short", "rules", "1h", [chronicle(slo), young(slo)]),
            ("long", "rules", "6h", [years(slo)]),
            ("ticket", "rules", "15m", [ticket(slo)]),
        ):
            if name not in kinds:
                continue
            found[f"{slo}-{name}"] = {
                "rule_files": [f"{slo}.{rules}.yaml"],
                "group_eval_order": ["promises", "promises-days", "pages"],
                "evaluation_interval": every,
                "tests": cases,
            }
    return found


KINDS: Final = ("stories", "short", "long", "ticket")
_PAGES_NEED_NOT: Final = ("2h", "1d", "3d", "coverage", "due", "known_cause")


def write(
    folder: Path,
    changed: Callable[[str], list[dict[str, Any]]] = rule_groups,
    slos: Sequence[str] = tuple(COUNTERS),
    kinds: Sequence[str] = KINDS,
) -> list[Path]:
    """Write test files and the rules of promises into a folder.

    Args:
        folder: where they go.
        changed: gives the rules of a promise, by group.
        slos: which promises.
        kinds: which of their files.

    Returns the test files.
    """
    for slo in slos:
        groups = changed(slo)
        (folder / f"{slo}.rules.yaml").write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
        # What a page does not stand on would only take time: it is evaluated every minute of every story.
        paging = [
            group
            | {
                "rules": [
                    rule
                    for rule in group["rules"]
                    if not any(word in rule.get("record", "") for word in _PAGES_NEED_NOT)
                ]
            }
            for group in groups
        ]
        (folder / f"{slo}.page.yaml").write_text(yaml.safe_dump({"groups": paging}), encoding="utf-8")
    paths = []
    for name, content in files(slos, kinds).items():
        paths.append(folder / f"{name}.yaml")
        paths[-1].write_text(yaml.safe_dump(content), encoding="utf-8")
    return paths
