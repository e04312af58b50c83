"""What may happen to each promise, and which page it must get: the stories. Runs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerts.catalogue import KNOBS
from alerts.objectives import load
from alerts.promises import increases
from tests.alerts.promises import COUNTERS, GAP, SLOW, Segment, Story

if TYPE_CHECKING:
    from collections.abc import Iterator

_BEFORE: Final = (
    (5, 1200, 0),
    (60, 20, 0),
)  # five hours' worth of events, then an hour; what happens begins at minute 66

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
        [("slo:bad_events:increase1h", 90, 0), *_no_less_than_counted(slo, 90)],
    )
    yield Story(
        "a restart sets the counters to zero",
        lambda _: (*_BEFORE, (1, -2, 0), (20, 20, 0)),
        {66: None, 68: None, 80: None},
        [("slo:bad_events:increase1h", 80, 0), *_no_less_than_counted(slo, 80)],
    )
    yield Story(
        "an outage in the first minutes of measuring",
        lambda _: (down,),
        {10: None, 30: None},
        [
            *(("slo:period_error_budget_remaining:ratio", 30, None), ("slo:measured:seconds", 30, 1800)),
            *_no_less_than_counted(slo, 30),
        ],
        measured=0,
    )
    yield Story(
        "an outage on the first day, six hours after it began",
        lambda _: (down,),
        _from((22, percent) if slo != "presence-gone" else None),
        measured=6 * 3600 - 20 * 60,
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
    # A try in ten minutes: one that fails is no incident, and of an outage the page waits for the least number of them.
    rare, failing = ((1, 1, 0), (9, 0, 0)), ((1, 0, 1), (9, 0, 0))
    seldom = ((5, 0, 0), *rare * 6, *failing, *rare * 3, *failing * 4)
    page = (first[0], "500.0") if FEW[slo] == 2 else None
    yield Story(
        "low traffic: one failure, and later an outage",
        lambda place: seldom if place == first else ((145, 0, 0),),
        {67: None, 69: None, 78: None, 127: None, 128: page},
    )
    yield returned(slo)
    yield Story("recovered after ten minutes", lambda _: (*_BEFORE, (10, 0, 20), (45, 20, 0)), _until(RECOVERED[slo]))


def _no_less_than_counted(slo: str, minute: int) -> Iterator[tuple[str, int, float]]:
    """Yield that the rules of days, which count in recorded sums, find what is in the exporters' own counters."""
    objective = load(KNOBS).objectives[slo]
    me = f'{{sloth_id="commeazy-{slo}"}}'
    total, good = (increases(terms, "30d") for terms in (objective.total, objective.good))
    for recorded, counted in (("slo:events", total), ("slo:bad_events", f"({total}) - ({good})")):
        yield f"round({recorded}:increase30d{me} - on () ({counted}), 0.000001)", minute, 0


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
