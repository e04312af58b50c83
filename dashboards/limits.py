"""Where a value turns bad, taken from the alerts' thresholds; knows nothing of Grafana's JSON."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from alerts.catalogue import KNOBS
from alerts.thresholds import load
from dashboards.pieces import CALM, CRITICAL, WARNING
from toolkit.documents import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alerts.thresholds import Threshold


class State(Enum):
    """What a value means to the person on call: a word, and a fill that the colour-blind tell from the others."""

    OK = ("OK", CALM)
    WARNING = ("WARNING", WARNING)
    CRITICAL = ("CRITICAL", CRITICAL)

    @property
    def word(self) -> str:
        """The word shown."""
        return self.value[0]

    @property
    def colour(self) -> str:
        """Grafana's name of the colour."""
        return self.value[1]


@dataclass(frozen=True)
class Limits:
    """Bands of values, rising: where each begins (None: no lower end) and what it means.

    Args:
        bands: at least two, from the lowest up.
        says: the limits as a sentence for a panel's description.
        short: the nearest limit in a word or two.
        whole: the nearest upper limit, of which a number may be so many per cent; None where the number is a share
            itself, and for a lower limit.
        edge_is_bad: whether a value exactly on an edge is in the worse band; an alert with > or < says no.
    """

    bands: tuple[tuple[float | None, State], ...]
    says: str
    short: str
    whole: float | None = None
    edge_is_bad: bool = False

    @property
    def lines(self) -> list[tuple[float, State]]:
        """The edges, each with the worse of the two states it parts."""
        order = list(State)
        edges = zip(self.bands, self.bands[1:], strict=False)
        return [(begins, max(below, above, key=order.index)) for (_, below), (begins, above) in edges if begins]

    @property
    def edges(self) -> list[tuple[float, State]]:
        """The values from which Grafana would colour a cell, each with the state that it is still in itself.

        An alert that fires above its threshold does not fire at it; a step of Grafana's begins at it.
        """
        fine = next(index for index, (_, state) in enumerate(self.bands) if state is State.OK)
        above = self.bands[fine:] if not self.edge_is_bad else ()
        return [(ends, state) for (_, state), (ends, _) in pairwise(above) if ends is not None]

    @property
    def tests(self) -> list[tuple[State, str, float]]:
        """The states that are not OK, the worst first, each with its condition: PromQL's sign and a value."""
        order = list(State)
        fine = next(index for index, (_, state) in enumerate(self.bands) if state is State.OK)
        equal = "=" if self.edge_is_bad else ""
        above = [(state, f">{equal}", begins) for begins, state in self.bands[fine + 1 :] if begins is not None]
        edges = zip(self.bands[:fine], self.bands[1:], strict=False)
        below = [(state, f"<{equal}", ends) for (_, state), (ends, _) in edges if ends is not None]
        return sorted([*above, *below], key=lambda test: order.index(test[0]), reverse=True)


def threshold(alert: str) -> Threshold:
    """Return the threshold of an alert, by the defaults and the file that the variable THRESHOLDS names.

    A file that cannot be used ends the program with one line and exit code 2: grafanalib's command, which calls the
    dashboards, would show a traceback.
    """
    return _thresholds()[alert]


@cache
def _thresholds() -> Mapping[str, Threshold]:
    # grafanalib's command takes no options of ours, so what `generate-rules --thresholds` is given comes as a variable.
    overrides = os.environ.get("THRESHOLDS")
    try:
        return load(KNOBS, Path(overrides) if overrides else None)
    except ConfigError as error:
        print(f"generate-dashboards: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        sys.exit(2)


def above(*alerts: str) -> Limits:
    """Return the limits of alerts that fire above their threshold, the mildest first."""
    edges = [(knob(alert), _state(alert)) for alert in alerts]
    says = "; ".join(f"{_state(alert).word.lower()} above {threshold(alert).limit}" for alert in alerts)
    nearest = threshold(alerts[0])
    bands = ((None, State.OK), *edges)
    if nearest.unit == "ratio":
        return Limits(bands, _sentence(says), f"limit {nearest.limit}")
    return Limits(bands, _sentence(says), f"of {nearest.limit}", knob(alerts[0]))


def below(*alerts: str) -> Limits:
    """Return the limits of alerts that fire below their threshold, the mildest first.

    No share of the limit is shown: more than 100 % of what is needed at least is good, and reads as bad.
    """
    worst_first = alerts[::-1]
    ends = [knob(alert) for alert in worst_first]
    bands = zip((None, *ends), (*map(_state, worst_first), State.OK), strict=True)
    says = "; ".join(f"{_state(alert).word.lower()} below {threshold(alert).limit}" for alert in alerts)
    return Limits(tuple(bands), _sentence(says), f"at least {threshold(alerts[0]).limit}")


def of_limit(alert: str) -> Limits:
    """Return the limit of numbers that are shares of their alert's own limits, where one alert has several."""
    return Limits(
        ((None, State.OK), (1, _state(alert))),
        _sentence(f"{_state(alert).word.lower()} above 100 % of its limit"),
        "limit 100 %",
    )


def above_share(alert: str) -> Limits:
    """Return the limits of an alert that fires above its `share`, a second threshold beside its value."""
    share = knob(alert, "share")
    return Limits(
        ((None, State.OK), (share, _state(alert))),
        _sentence(f"{_state(alert).word.lower()} above {share * 100:g} %"),
        f"limit {share * 100:g} %",
    )


def rest_of(alert: str) -> Limits:
    """Return the limits of 1 minus what an alert watches: of successes, where it has the share of failures."""
    least = 1 - knob(alert)
    return Limits(
        ((None, _state(alert)), (least, State.OK)),
        _sentence(f"{_state(alert).word.lower()} below {least * 100:g} %"),
        f"at least {least * 100:g} %",
    )


def none_may_be(alert: str) -> Limits:
    """Return the limits of a number of things of which one is enough for an alert without a threshold."""
    return Limits(
        ((None, State.OK), (1, _state(alert))),
        _sentence(f"{_state(alert).word.lower()} from 1 on"),
        "limit 0",
        edge_is_bad=True,
    )


def knob(alert: str, name: str = "value") -> float:
    """Return a number of an alert's threshold: its value, or one beside it such as `share`."""
    found: float | None = getattr(threshold(alert), name)
    assert found is not None, f"{alert} has no {name}"
    return found


def _state(alert: str) -> State:
    return State[threshold(alert).severity.upper()]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
