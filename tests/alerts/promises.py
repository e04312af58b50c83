"""What may happen to each promise, as promtool's input, and what its rules must make of it. Runs nothing.

Every case feeds the counters of an exporter, not recorded series, so it tests the whole way from a counter to an alert.
The expected values are written by hand, for each objective: when it pages, and which node the page names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from alerts.generate import RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

Case = dict[str, Any]
Segment = tuple[int, int, int]  # so many steps, good and bad events in each

NODES: Final = ("prosody1", "prosody2", "prosody3")
PAIRS: Final = tuple((sender, receiver) for sender in NODES for receiver in NODES)
GAP: Final = (-1, 0)  # in place of good and bad: no sample
_SOURCE: Final = 'job="synthetic",instance="monitoring",vantage="main"'
_URLS: Final = {
    "runbook_url": "https://github.com/commeazy/monitoring/blob/main/docs/runbooks/PromiseBurnsFast.md",
    "dashboard_url": "https://grafana.commeazy.com/d/promises",
}
_DESCRIPTION: Final = (
    "Users notice: messages, logins or calls fail. No other page says why. See which node or pair it is."
)


@dataclass(frozen=True)
class Counters:
    """How events reach the counters of one exporter.

    Attributes:
        good, bad: counters that a good, or a bad, event increases by one.
        noise: counters beside them that no rule may count; each event increases them.
        place: what names a node or a pair, with {0} and {1} for its names.
        journeys: those whose interval the exporter says.
    """

    good: tuple[str, ...]
    bad: tuple[str, ...]
    noise: tuple[str, ...]
    place: str = 'from="{0}",to="{1}"'
    source: str = _SOURCE
    journeys: tuple[str, ...] = ()
    places: tuple[tuple[str, ...], ...] = PAIRS


def _results(journey: str, places: tuple[tuple[str, ...], ...] = PAIRS) -> Counters:
    """A journey that is good when its result is ok."""
    name = f'synthetic_journeys_total{{journey="{journey}",result='
    return Counters(
        (f'{name}"ok"',),
        (f'{name}"timeout"',),
        (f'{name}"suspended"', 'synthetic_journeys_total{journey="resume",result="timeout"'),
        journeys=(journey,),
        places=places,
    )


_SECONDS: Final = "synthetic_journey_seconds"
_MESSAGE: Final = f'{_SECONDS}_bucket{{journey="message",le='
_VANISH: Final = f'{_SECONDS}_bucket{{journey="presence_vanish",le='
_PRESENCE: Final = 'synthetic_journeys_total{journey="presence_'
_VOIP: Final = 'push_latency_ms_bucket{handler="voip",le='
_COTURNS: Final = tuple((name, name) for name in ("coturn1", "coturn2", "coturn3"))

COUNTERS: Final = {
    "message-delivered": _results("message"),
    "message-fast": Counters(
        (f'{_MESSAGE}"0.1"', f'{_SECONDS}_count{{journey="message"'),
        (f'{_SECONDS}_count{{journey="message"',),
        (f'{_MESSAGE}"0.05"', f'{_MESSAGE}"0.25"', f'{_SECONDS}_bucket{{journey="login",le="0.1"'),
        journeys=("message",),
    ),
    "login": _results("login", tuple((name, name) for name in NODES)),
    "presence-gone": Counters(
        (f'{_VANISH}"90.0"', f'{_PRESENCE}vanish",result="ok"'),
        (f'{_PRESENCE}force_quit",result="timeout"',),
        (f'{_PRESENCE}vanish",result="refused"', f'{_PRESENCE}online",result="timeout"', f'{_VANISH}"150.0"'),
        journeys=("presence_vanish",),
    ),
    "call-push": Counters(
        ("push_voip_sent_total{", 'push_latency_ms_count{handler="voip"', f'{_VOIP}"2000.0"'),
        ("push_voip_failed_total{",),
        (f'{_VOIP}"1000.0"', f'{_VOIP}"5000.0"', "push_fcm_failed_total{", 'push_latency_ms_count{handler="fcm"'),
        place='instance="{0}"',
        source='job="push-gateway"',
        places=tuple((name,) for name in NODES),
    ),
    "turn": _results("turn_tls", _COTURNS),
}
# A message, or the answer to a push, that comes too late; for the others late is not bad.
SLOW: Final = {
    "message-fast": (f'{_SECONDS}_count{{journey="message"',),
    "call-push": ("push_voip_sent_total{", 'push_latency_ms_count{handler="voip"'),
}


@dataclass
class Story:
    """What happens at each place, and when a page is expected.

    Attributes:
        name: of the case.
        segments: by place, from the beginning on; the default is for the others.
        pages: by minute, the node that a page names ("" for none) and the burn it says, or None for no page.
        asks: PromQL, its minute, and the value; None for no sample.
        young: whether nothing was measured before.
        late: the bad events are late ones.
    """

    name: str
    segments: Callable[[tuple[str, ...]], Sequence[tuple[int, int, int]]]
    pages: dict[int, tuple[str, str] | None] = field(default_factory=dict)
    asks: list[tuple[str, int, float | None]] = field(default_factory=list)
    young: bool = False
    late: bool = False


_PAGES_NEED_NOT: Final = ("2h", "1d", "3d", "coverage", "due", "known_cause")


def rule_groups(slo: str) -> list[dict[str, Any]]:
    """Return the generated rules of one promise, those of all promises, and the alert that pages."""
    groups = yaml.safe_load((RULES / "promises.yaml").read_text(encoding="utf-8"))["groups"]
    alerts = yaml.safe_load((RULES / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    mine = [
        {
            "name": group["name"],
            "rules": [rule for rule in group["rules"] if rule.get("labels", {}).get("sloth_slo", slo) == slo],
        }
        for group in groups
    ]
    paging = [rule for group in alerts for rule in group["rules"] if rule["alert"] == "PromiseBurnsFast"]
    return [*mine, {"name": "pages", "rules": paging}]


def series(
    counters: Counters, place: tuple[str, ...], segments: Sequence[Segment], *, late: tuple[str, ...] = ()
) -> Iterator[dict[str, str]]:
    """Yield the input series of one place; a segment of -1 events is one without samples, of -2 a restart."""
    bad = late or counters.bad
    names = dict.fromkeys((*counters.good, *counters.bad, *bad, *counters.noise))
    labels = f"{counters.source},{counters.place.format(*place)}"
    for name in names:
        value, values = 0, ["0"]
        for steps, of_good, of_bad in segments:
            if of_good == -1:
                values.append(f"_x{steps}")
                continue
            if of_good == -2:  # a restart
                value = 0
                values.append(f"0x{steps - 1}")
                continue
            each = (
                of_good * (name in counters.good)
                + of_bad * (name in bad)
                + (of_good + of_bad) * (name in counters.noise)
            )
            values.append(f"{value + each}+{each}x{steps - 1}")
            value += each * steps
        opened = name if name.endswith("{") else f"{name},"
        yield {"series": f"{opened}{labels}}}", "values": " ".join(values)}


def case(slo: str, story: Story, interval: str = "1m") -> Case:
    """Return a story as promtool's case."""
    counters = COUNTERS[slo]
    inputs = [
        one
        for place in counters.places
        for one in series(counters, place, story.segments(place), late=SLOW.get(slo, ()) if story.late else ())
    ]
    steps = sum(segment[0] for segment in story.segments(counters.places[0]))
    inputs += [
        {"series": f'synthetic_journey_interval_seconds{{{_SOURCE},journey="{journey}"}}', "values": f"54x{steps}"}
        for journey in counters.journeys
    ]
    inputs += [{"series": f'up{{job="push-gateway",instance="{node}"}}', "values": f"1x{steps}"} for node in NODES]
    me = {"sloth_service": "commeazy", "sloth_slo": slo, "sloth_id": f"commeazy-{slo}"}
    if not story.young:
        labels = ",".join(f'{key}="{value}"' for key, value in me.items())
        inputs.append({"series": f"slo:measured_since:timestamp_seconds{{{labels}}}", "values": "-2592000"})
    checks = [
        {
            "alertname": "PromiseBurnsFast",
            "eval_time": f"{minute}m",
            "exp_alerts": [_page(me, *expected)] if expected else [],
        }
        for minute, expected in story.pages.items()
    ]
    asked = [
        {
            "expr": f"sum({expr})",
            "eval_time": f"{minute}m",
            "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
        }
        for expr, minute, value in story.asks
    ]
    return {
        "name": f"{slo}: {story.name}",
        "interval": interval,
        "input_series": inputs,
        "alert_rule_test": checks,
        "promql_expr_test": asked,
    }


def _page(me: dict[str, str], node: str, burn: str) -> dict[str, Any]:
    where = {"instance": node} if node else {}
    said = f"{me['sloth_slo']}: the error budget burns {burn} times too fast" + (f", on {node}" if node else "")
    return {
        "exp_labels": {"severity": "critical", "sloth_severity": "page", **me, **where},
        "exp_annotations": {"summary": said, "description": _DESCRIPTION, **_URLS},
    }


# --- The stories -----------------------------------------------------------------------------------------------------

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
    if slo in SLOW:
        yield Story("everything comes too late", lambda _: (*_BEFORE, down), _from(OUTAGE[slo]), late=True)
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
    yield Story("recovered after ten minutes", lambda _: (*_BEFORE, (10, 0, 20), (45, 20, 0)), _until(RECOVERED[slo]))


def chronicle(slo: str) -> Case:
    """Return fourteen hours with bad events 3, 20, 50, 90, 300 and 600 minutes ago, and what is recorded of them."""
    counters, places = COUNTERS[slo], _ALWAYS[slo]
    first = counters.places[0]
    bursts = (
        *_minutes(600 - 300, 32),
        *_minutes(300 - 90, 16),
        *_minutes(90 - 50, 8),
        *_minutes(50 - 20, 4),
        *_minutes(20 - 3, 2),
    )
    busy = ((239, 1, 0), *bursts, (1, 1, 1), (3, 1, 0))
    bad = {"5m": 1, "30m": 3, "1h": 7, "2h": 15, "6h": 31}
    minutes = {"5m": 5, "30m": 30, "1h": 60, "2h": 120, "6h": 360}
    asks: list[tuple[str, int, float | None]] = []
    for window, events in bad.items():
        every = places * minutes[window] + events
        asks.append((f'slo:bad_events:increase{window}{{sloth_window="{window}"}}', 840, events))
        asks.append((f'slo:events:increase{window}{{sloth_window="{window}"}}', 840, every))
        asks.append((f'slo:sli_error:ratio_rate{window}{{sloth_window="{window}"}}', 840, events / every))
    budget = 0.01 if slo in ("message-fast", "presence-gone", "call-push") else 0.001
    asks += [
        ("slo:bad_events:by_place30m", 840, 3),
        (f'slo:bad_events_of_node:ratio{{instance="{first[0]}"}}', 840, 1),
        (f'slo:explained_by:bool{{instance="{first[0]}"}}', 840, 1),
        ("slo:error_budget:ratio", 840, budget),
        ("slo:current_burn_rate:ratio", 840, 1 / (5 * places + 1) / budget),
        ("slo:due:rate", 840, 0.2 if slo == "call-push" else places / 48.6),
    ]
    return case(
        slo, Story("what each short window holds", lambda place: busy if place == first else ((840, 1, 0),), {}, asks)
    )


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
        asks.append((f'slo:sli_error:ratio_rate{window}{{sloth_window="{window}"}}', end, events / every))
    budget = 0.01 if slo in ("message-fast", "presence-gone", "call-push") else 0.001
    burn = 15 / (120 * places + 15) / budget
    made, due = (3 * 121, 0.2) if slo == "call-push" else (120 * places + 15, places / 48.6)
    asks += [
        ("slo:period_burn_rate:ratio", end, burn),
        ("slo:period_error_budget_remaining:ratio", end, 1 - burn),
        ("slo:measured:seconds", end, 2_592_000),
        ("slo:coverage:ratio", end, made / (due * 2_592_000)),
    ]
    return case(
        slo,
        Story("what each long window holds", lambda place: busy if place == first else ((240, 1, 0),), {}, asks),
        "6h",
    )


def files() -> dict[str, dict[str, Any]]:
    """Return promtool's test files by name, without the rules: those of each promise are in `rule_groups`."""
    found = {}
    for slo in COUNTERS:
        for name, rules, every, cases in (
            ("stories", "page", "1m", [case(slo, story) for story in stories(slo)]),
            ("short", "rules", "1h", [chronicle(slo)]),
            ("long", "rules", "6h", [years(slo)]),
        ):
            found[f"{slo}-{name}"] = {
                "rule_files": [f"{slo}.{rules}.yaml"],
                "group_eval_order": ["promises", "promises-days", "pages"],
                "evaluation_interval": every,
                "tests": cases,
            }
    return found


def write(folder: Path, changed: Callable[[str], list[dict[str, Any]]] = rule_groups) -> list[Path]:
    """Write the test files and the rules of each promise into a folder; returns the test files."""
    for slo in COUNTERS:
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
    for name, content in files().items():
        paths.append(folder / f"{name}.yaml")
        paths[-1].write_text(yaml.safe_dump(content), encoding="utf-8")
    return paths
