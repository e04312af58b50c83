"""The tiles at the head of a dashboard: one number each, its verdict in words, and its trend. They know no metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grafanalib import core

from dashboards.limits import Limits, State
from dashboards.pieces import (
    CALM,
    CRITICAL,
    FAR,
    NO_DATA,
    TREND,
    Query,
    between,
    fixed,
    override,
    special,
    step,
    target,
    targets,
)
from dashboards.promql import labelled

if TYPE_CHECKING:
    from dashboards.promql import ProbedEndpoints, Service, Services

    Answering = Service | ProbedEndpoints | Services

    Panel = Any  # a grafanalib panel; the package is untyped

_NONE = "none"
_LETTERS = {"options": {"text": {"titleSize": 16, "valueSize": 32}}}
_NOW = "last"  # not lastNotNull, for which NaN (nothing happened) is null (no data) from Grafana 10 on
_REST = "${datasource:queryparam}&${__url_time_range}"


def stat(
    title: str,
    description: str,
    unit: str,
    expr: str,
    limits: Limits,
    *,
    of: Answering,
    idle: str = NO_DATA,
    outlives: bool = False,
) -> Panel:
    """Return a number with its verdict in a word and in colour, how much of its limit it is, and its trend.

    The share is part of the verdict's name, because a row of its own would leave no room for the trend.

    A verdict is never OK while something that it is about does not answer: what is not known may be bad. The number
    then is that of the rest, which has the load now, and its verdict is CRITICAL if it is.

    Args:
        title: what is counted.
        description: what it means; the limits are added to it.
        unit: Grafana's name of the unit.
        expr: PromQL for exactly one sample without labels. No sample is a fault, and is shown as one.
        limits: what is good and what is bad.
        of: the service, or the endpoints, that must all answer for the verdict to hold.
        idle: the verdict on NaN, where nothing happened that could be judged.
        outlives: whether the number is also of what does not answer.
    """
    colours = {
        **{state.word: state.colour for state in State},
        of.word: CRITICAL,
        NO_DATA: CRITICAL,
    }
    verdict = _verdict(expr, limits, of, idle)
    if limits.whole:
        verdict = f"({verdict}) * on () group_left (share) ({_share(expr, limits.whole, of)})"
    return _tile(
        title,
        f"{description} {limits.says}{_of(of, outlives=outlives)}",
        unit,
        [target(verdict, "{{verdict}}{{share}}", "A", instant=True), target(expr, "trend", "T")],
        overrides=[
            *(
                override("byRegexp", f"/^{word}/", color=fixed(colour))
                for word, colour in ({idle: CALM} | colours).items()
            ),
            _trend(limits.short),
        ],
    )


def figure(title: str, description: str, unit: str, expr: str, *, of: Answering, outlives: bool = False) -> Panel:
    """Return a number that has no limit, and its trend.

    Args:
        title: what is counted.
        description: what it means.
        unit: Grafana's name of the unit.
        expr: PromQL for exactly one sample without labels. No sample is a fault, and is shown as one.
        of: the service, or the endpoints, that must all answer for the number to be whole.
        outlives: whether the number is also of what does not answer.
    """
    verdict = _or(*_partly(expr, of), _named("now", expr), _named(NO_DATA, "vector(NaN)"))
    return _tile(
        title,
        f"{description}{_of(of, outlives=outlives)}",
        unit,
        [target(verdict, "{{verdict}}", "A", instant=True), target(expr, "trend", "T")],
        overrides=[
            override("byName", of.word, color=fixed(CRITICAL)),
            override("byName", NO_DATA, color=fixed(CRITICAL)),
            _trend(" "),
        ],
    )


def _of(of: Answering, *, outlives: bool) -> str:
    number = "also of those that do not, as far as it is known" if outlives else "of those that do"
    return f" {of.word}: at least one does not answer; the number is {number}."


def _share(expr: str, whole: float, of: Answering) -> str:
    """Return PromQL for a 1 whose label `share` says how many per cent of a limit a number is.

    It says nothing if that is not known, or where there is no room: if something does not answer, and above 999 %.
    """
    known = f"((({expr}) > -Inf) < {10 * whole:g}) unless on () ({_silent(of)})"
    per_cent = f'count_values("share", round(100 * ({known}) / {whole:g}))'
    return _or(f'label_replace({per_cent}, "share", ", $1 %", "share", "(.*)")', "vector(1)")


def _verdict(expr: str, limits: Limits, of: Answering, idle: str) -> str:
    """Return PromQL for one sample: the number, and in the label `verdict` what it means."""
    judged = [(state, _named(state.word, f"({expr}) {sign} {edge:g}")) for state, sign, edge in limits.tests]
    return _or(
        *(test for state, test in judged if state is State.CRITICAL),
        *_partly(expr, of),
        *(test for state, test in judged if state is not State.CRITICAL),
        _named(State.OK.word, f"({expr}) > -Inf"),  # neither NaN nor absent
        *([] if idle == NO_DATA else [_named(idle, expr)]),
        _named(NO_DATA, "vector(NaN)"),
    )


def _partly(expr: str, of: Answering) -> tuple[str, str]:
    """Return PromQL for a sample if something does not answer: the number of the rest, or NaN if that is not known."""
    silent = _silent(of)
    return _named(of.word, f"({expr}) and on () {silent}"), _named(of.word, f"NaN * ({silent})")


def _silent(of: Answering) -> str:
    """Return PromQL for a sample if something does not answer."""
    return f"({of.unanswered()}) > 0"


def _called(expr: str) -> str:
    return labelled(expr, "instance", _NONE)


def _named(word: str, expr: str) -> str:
    return labelled(expr, "verdict", word)


def _or(*choices: str) -> str:
    """Return PromQL for the first of these that gives a sample."""
    return " or on () ".join(choices)


def broken(title: str, description: str, of: Service) -> Panel:
    """Return the names of the nodes that do not answer, each with a link to itself; "none" if all do."""
    node = "${__field.labels.instance}"
    link = {"title": f"Only {node}", "url": f"/d/${{__dashboard.uid}}?var-node={node}&{_REST}"}
    return core.Stat(
        title=title,
        description=f"{description} Critical from 1 on.",
        targets=[
            target(_or(of.unanswering(), _called(f"({of.unanswered()}) == 0")), "{{instance}}", "A", instant=True)
        ],
        format="none",
        color=fixed(CRITICAL),
        colorMode="background",
        graphMode="none",
        orientation="horizontal",
        reduceCalc=_NOW,
        textMode="name",
        noValue=NO_DATA,
        mappings=[special("null+nan", NO_DATA, CRITICAL)],
        thresholds=[step(None, CRITICAL)],
        extraJson=_LETTERS,
        overrides=[
            override("byRegexp", f"/^(?!{_NONE}$)/", links=[link]),
            override("byName", _NONE, color=fixed(CALM)),
        ],
    )


def alert_counts(title: str, description: str, critical: str, warning: str) -> Panel:
    """Return how many alerts fire; each expression gives 0 when all is quiet, nothing when no rules are evaluated."""
    named = {"A": State.CRITICAL, "B": State.WARNING}
    return core.Stat(
        title=title,
        description=description,
        targets=targets([Query(critical, "critical"), Query(warning, "warning")], instant=True),
        format="none",
        color={"mode": "thresholds"},
        colorMode="background",
        graphMode="none",
        orientation="vertical",
        reduceCalc=_NOW,
        textMode="value_and_name",
        noValue=NO_DATA,
        mappings=[special("null+nan", NO_DATA, CRITICAL)],
        thresholds=[step(None, CALM)],
        overrides=[
            override(
                "byFrameRefID", ref, thresholds={"mode": "absolute", "steps": [step(None, CALM), step(1, state.colour)]}
            )
            for ref, state in named.items()
        ],
    )


def _tile(
    title: str,
    description: str,
    unit: str,
    asked: list[Any],
    *,
    overrides: list[dict[str, Any]],
) -> Panel:
    """Return a tile.

    Its trend begins at 0, so that noise does not look like a fall. The trend of a share fits the data, because small
    changes of a share matter.
    """
    return core.Stat(
        title=title,
        description=description,
        targets=asked,
        format=unit,
        decimals=0 if unit == "locale" else None,
        color=fixed(CALM),
        colorMode="background",
        graphMode="area",
        orientation="horizontal",
        reduceCalc=_NOW,
        textMode="value_and_name",
        noValue=NO_DATA,
        mappings=[special("null+nan", "-")],  # NO DATA keeps its red
        thresholds=[step(None, CALM)],
        extraJson={
            "fieldConfig": {"defaults": {"min": None if unit == "percentunit" else 0}},
            "options": {"text": {"titleSize": 13, "valueSize": 20}},
        },
        overrides=overrides,
    )


def _trend(name: str) -> dict[str, Any]:
    """Show a range query as a line without a number: its last point may be as old as one step of the shown time."""
    nothing = [between(-FAR, FAR, TREND, " "), special("null+nan", " ", TREND)]
    return override("byFrameRefID", "T", mappings=nothing, displayName=name, noValue=" ")
