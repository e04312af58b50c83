"""What each window of a promise must hold, and what is recorded beside it: coverage, causes, tickets. Runs nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tests.alerts.promise_stories import FEW
from tests.alerts.promises import COUNTERS, PAIRS, Case, Counters, Segment, Story, beside, case, of_promise, series

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALWAYS: Final = {slo: 9 if counters.places is PAIRS else 3 for slo, counters in COUNTERS.items()}  # places
_HUNDREDTH: Final = ("message-fast", "presence-gone", "call-push")  # of their events may be bad; of others a thousandth

# The pages about a whole service that explain each promise's burn. Those of a node have a rule of their own.
_SERVICE: Final = ("HaproxyNoNodes", "HaproxyBackendNodesLow")
CAUSES: Final[dict[str, tuple[str, ...]]] = {
    "message-delivered": (*_SERVICE, "SyntheticMessagesFailing", "SyntheticLoginsFailing"),
    "message-fast": (*_SERVICE, "SyntheticMessagesFailing", "SyntheticLoginsFailing"),
    "login": (
        *("ProsodyLoginsFail", "ProsodyWebSocketLoginsImpossible", *_SERVICE),
        *("PostgresNoPrimary", "CertificateNotTrusted", "SyntheticLoginsFailing"),
    ),
    "presence-gone": (),
    "call-push": ("PushProviderUnreachable", "PushVoipCredentialsInvalid"),
    "turn": ("HaproxyNoNodes", "SyntheticLoginsFailing", "SyntheticTurnCredentialsFailing"),
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


def _bursts(steps: int, bad: dict[int, int]) -> tuple[Segment, ...]:
    """Return a good event in each step, and beside it so many bad ones, so many steps ago."""
    told: list[Segment] = []
    for age in sorted(bad, reverse=True):
        told += [(steps - age - 1, 1, 0), (1, 1, bad[age])]
        steps = age
    return tuple(segment for segment in (*told, (steps, 1, 0)) if segment[0])


# Minutes ago, and bad events then: some in half of each window, in it, and in twice as much.
_MINUTES: Final = {600: 128, 300: 64, 200: 32, 90: 16, 50: 8, 20: 4, 7: 2, 3: 1}
# By window, what its minutes hold of them, of one bad event 4 and of one 12 minutes ago.
_OF_MINUTES: Final = {"5m": (5, 2), "30m": (30, 9), "1h": (60, 17), "2h": (120, 33), "6h": (360, 129)}


def chronicle(slo: str) -> Case:
    """Return fourteen hours and what is recorded of them; two places fail in the shortest window, three in the others.

    A second exporter sees the first place, too, and two places are tried no more: one only ever failed, one never did.
    """
    counters, places = COUNTERS[slo], _ALWAYS[slo] + 1
    first, second, last = counters.places[0], counters.places[1], counters.places[-1]
    told_of = {first: _bursts(840, _MINUTES), second: _bursts(840, {12: 1}), last: _bursts(840, {4: 1})}
    asks: list[tuple[str, int, float | None]] = []
    for window, (minutes, events) in _OF_MINUTES.items():
        asks.append((f'slo:bad_events:increase{window}{{sloth_window="{window}"}}', 840, events))
        asks.append((f'slo:events:increase{window}{{sloth_window="{window}"}}', 840, places * minutes + events))
    budget = 0.01 if slo in _HUNDREDTH else 0.001
    severity = "warning" if slo == "presence-gone" else "critical"
    info = f'severity="{severity}",sloth_mode="generate-rules",sloth_objective="{100 - 100 * budget:g}"'
    asks += [
        (f"slo:bad_events:by_place30m{{{counters.place.format(*first)}}}", 840, 7),
        ("count(slo:bad_events:by_place30m)", 840, 3),
        ("slo:bad_events:by_place30m", 720, None),
        ("slo:error_budget:ratio", 840, budget),
        ("slo:objective:ratio", 840, 1 - budget),
        ("slo:time_period:days", 840, 30),
        ("slo:bad_events:minimum", 840, FEW[slo] + 1),
        (f"sloth_slo_info{{{info}}}", 840, 1),
        # Four gateways, one of them down; or the places, and the two that are tried no more.
        ("slo:due:rate", 840, 4 / 15 if slo == "call-push" else (places + 2) / 64 / 0.9),
    ]
    target, sums = _sums(slo, places)
    asks += [(f'slo:counter:sum{{{target},counter="{name}"}}', 840, value) for name, value in sums.items()]
    story = Story("what each short window holds", lambda place: told_of.get(place, ((840, 1, 0),)), {}, asks)
    told = case(slo, story)
    other = counters.source.replace("main", "paris") if counters.journeys else f'{counters.source},vantage="paris"'
    told["input_series"] += series(replace(counters, source=other), first, ((840, 1, 0),))
    for journey in counters.journeys:
        interval = f'synthetic_journey_interval_seconds{{{other},journey="{journey}"}}'
        told["input_series"].append({"series": interval, "values": "64x840"})
        if journey == counters.journeys[0]:
            told["input_series"] += _idle(counters)
    told["input_series"] += beside(counters)
    return _explained(slo, told)


def _sums(slo: str, places: int) -> tuple[str, dict[str, float]]:
    """Return a target of `chronicle`, and what its counters are together after it."""
    if slo == "call-push":  # two exporters of the one gateway
        return 'job="push-gateway",instance="prosody1"', {
            "total 1": 1680,
            "total 2": 255,
            **dict.fromkeys(("good 1", "good 2", "good 3"), 1680),
        }
    good = places * 840 + 5
    return 'job="synthetic",instance="monitoring"', {"total 1": good + 257 + 5, "good 1": good}


def _idle(counters: Counters) -> Iterator[dict[str, str]]:
    """Yield the counters of a place that only ever failed, and of one that never did; nothing is counted any more."""
    for place, names in (("failed", counters.bad), ("well", counters.good)):
        for name in counters.named(names, (place, place)):
            labels = f"{counters.source},{counters.place.format(place, place)}"
            yield {"series": f"{name},{labels}}}", "values": "5x840"}


def young(slo: str) -> Iterator[Case]:
    """Yield three hours of which the first half hour was not measured, evaluated every hour.

    Of several journeys one is tried in each case, and is always good or never, so that each counter is seen alone.
    """
    counters = COUNTERS[slo]
    since = "slo:measured_since:timestamp_seconds"
    asks: list[tuple[str, int, float | None]] = [
        (since, 0, None),
        (since, 60, 3600),
        (since, 180, 3600),
        ("slo:measured:seconds", 180, 7200),
        ("slo:coverage:ratio", 60, None),
    ]
    journeys = counters.journeys or ("",)
    every = [(name, each) for name in (*counters.good, *counters.bad) for each in journeys]
    for turn, journey in enumerate(journeys):
        alone = [(name, journey) for name in (counters.good, counters.bad)[turn % 2]]
        late, kept = (
            tuple(name.replace("JOURNEY", each) for name, each in names)
            for names in (every, alone if len(journeys) > 1 else every)
        )
        told_of: Segment = (6, 2000, 0) if turn % 2 == 0 else (6, 0, 2000)
        # More was made than was due; but without a counter of good events nobody knows what it was.
        covered = ("slo:coverage:ratio", 180, 1 if len(journeys) == 1 or turn % 2 == 0 else None)
        since_when = f"since when {journey} is measured"
        story = Story(since_when, lambda _, told_of=told_of: (told_of,), {}, [*asks, covered], 0)  # type: ignore[misc]
        told = case(slo, story, "30m")
        told["input_series"] = [
            given | {"values": f"_ {given['values']}"} if given["series"].startswith(late) else given
            for given in told["input_series"]
            if given["series"].startswith(kept) or not given["series"].startswith(late)
        ]
        told["input_series"] += [each for each in beside(counters) if since not in each["series"]]
        for given in told["input_series"]:
            if given["series"].startswith('up{job="push-gateway"'):
                given["values"] = given["values"].replace("1x", "9999x")  # as many scrapes as half an hour cannot have
        yield told


def unnumbered(slo: str) -> Case:
    """Return three hours in which one counter of one place is no number from the second on: nothing is known then."""
    counters = COUNTERS[slo]
    firing = 'ALERTS{alertstate="firing"}'
    asks: list[tuple[str, int, float | None]] = [
        ("slo:coverage:ratio", 60, 1),
        ("slo:coverage:ratio", 180, None),
        (firing, 180, None),
    ]
    story = Story("not a number", lambda _: ((6, 2000, 0),), {}, asks, 1)
    told = case(slo, story, "30m")
    spoiled = counters.named(counters.good, counters.places[0])[-1]
    first = next(given for given in told["input_series"] if given["series"].startswith(spoiled))
    first["values"] = "0+2000x2 NaN NaN NaN NaN"
    for given in told["input_series"]:
        if given["series"].startswith('up{job="push-gateway"'):
            given["values"] = given["values"].replace("1x", "9999x")
    told["input_series"] += beside(counters)
    return told


def ticket(slo: str) -> Case:
    """Return a good day, an hour of outage and seven good hours, and when that is a ticket; of each promise it is."""
    asks: list[tuple[str, int, float | None]] = [
        ('ALERTS{alertname="PromiseBurnsSlowly",alertstate="firing",severity="warning"}', minute, fires)
        for minute, fires in ((24 * 60 + 15, None), (24 * 60 + 30, 1), (30 * 60 + 45, 1), (31 * 60, None))
    ]
    story = Story("an hour of outage is a ticket", lambda _: ((96, 20, 0), (4, 0, 20), (30, 20, 0)), {}, asks)
    return case(slo, story, "15m")


# Steps of six hours ago, and bad events then: as for the short windows.
_STEPS: Final = {200: 64, 80: 32, 16: 16, 8: 8, 5: 4, 2: 2, 1: 1}
_OF_DAYS: Final = {
    "1d": (1, 3 + 1),
    "3d": (3, 15 + 1),
    "30d": (30, 63 + 1),
}  # days, and bad events; one at another place
_CHANGED: Final = 80  # steps ago the tries became twice as many, or a gateway more: what is due is their mean


def years(slo: str) -> Case:
    """Return sixty days, six hours a step, and what is recorded of them. A second exporter sees the first place."""
    counters, places = COUNTERS[slo], _ALWAYS[slo] + 1
    first, second = counters.places[0], counters.places[1]
    told_of = {first: _bursts(240, _STEPS), second: _bursts(240, {1: 1})}
    end = 60 * 24 * 60
    asks: list[tuple[str, int, float | None]] = []
    for window, (days, events) in _OF_DAYS.items():
        asks.append((f'slo:bad_events:increase{window}{{sloth_window="{window}"}}', end, events))
        asks.append((f'slo:events:increase{window}{{sloth_window="{window}"}}', end, 4 * days * places + events))
    made, bad = 120 * places + 64, 64
    burn = bad / made / (0.01 if slo in _HUNDREDTH else 0.001)
    now, ago = _CHANGED + 1, 120 - _CHANGED  # evaluations in 30 days
    due = places / 64 / 0.9 * (now + ago / 2) / 121
    if slo == "call-push":
        made, due = 3 * 121, (5 * now + 4 * ago) / 15 / 121
    asks += [
        ("slo:period_burn_rate:ratio", end, burn),
        ("slo:period_error_budget_remaining:ratio", end, 1 - burn),
        ("slo:measured:seconds", end, 2_592_000),
        # Rounded: how Prometheus adds up a mean is its own affair.
        (f'round(slo:coverage:ratio{{sloth_slo="{slo}"}}, 0.000001)', end, round(made / (due * 2_592_000) * 1e6) / 1e6),
    ]
    story = Story("what each long window holds", lambda place: told_of.get(place, ((240, 1, 0),)), {}, asks)
    told = case(slo, story, "6h")
    other = counters.source.replace("monitoring", "paris")
    place = first if counters.journeys else ("paris",)
    told["input_series"] += series(replace(counters, source=other), place, ((240, 1, 0),))
    mine = [given for given in told["input_series"] if given["series"].startswith("synthetic_journey_interval")]
    for given in mine:
        given["values"] = f"128x{239 - _CHANGED} 64x{_CHANGED}"
        told["input_series"].append(given | {"series": given["series"].replace("monitoring", "paris")})
    new = {"series": 'up{job="push-gateway",instance="new"}', "values": f"_x{240 - _CHANGED} 0x{_CHANGED}"}
    told["input_series"] += [*beside(counters), new]
    return told
