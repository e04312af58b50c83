"""Promises: is what Section 1 promises kept, what is left of each budget, who spends it, and is it measured at all."""

from dataclasses import dataclass, replace

from alerts.catalogue.promises import LATELY, QUICKLY, SLOWLY
from dashboards.limits import above, below, knob, of_limit
from dashboards.page import folded, page, row
from dashboards.panels import series
from dashboards.pieces import CALM, Look, Query, override
from dashboards.promql import PROMISES, PROSODY, labelled
from dashboards.prosody import nodes_down
from dashboards.tables import Column, table
from dashboards.tiles import figure, stat

_BY = "max by (sloth_slo)"
_MEASURED = below("PromiseNotMeasured")
_NODE = 'label_replace(slo:explained_by:bool, "instance", "none", "instance", "")'
_CAUSE = f"{_BY} (slo:known_cause:bool) or 0 * {_BY} (slo:objective:ratio)"
_NAMES = {"sloth_slo": "promise"}
_WHOLE = [override("byName", "promise", custom__minWidth=170)]  # for the longest name
_EXACT = [override("byName", heading, decimals=2) for heading in ("now", "30 days")]  # 99.97 % must not read as 100 %
_PAGES = ' and on (sloth_slo) sloth_slo_info{severity="critical"}'  # the burn of the others pages nobody
_NOT_COVERED = f"0 * {_BY} (slo:objective:ratio unless slo:coverage:ratio)"


@dataclass(frozen=True)
class _Burns:
    """How fast each budget burns, as an alert judges it: in pairs of windows, each pair with a limit of its own.

    Args:
        alert: which one.
        pairs: long window, short window, and how many times too fast a budget may burn.
        lately: the window that must hold enough bad events; "": the long window of each pair.
        of: PromQL that keeps only the promises that the alert is about; "": it is about all of them.
    """

    alert: str
    pairs: tuple[tuple[str, str, str], ...]
    lately: str = ""
    of: str = ""

    def _limit(self, rate: str) -> str:
        return rate.replace("<value>", f"{knob(self.alert):g}")

    @property
    def says(self) -> str:
        """The limits in words."""
        paces = (f"{self._limit(rate)} in {long} and {short}" for long, short, rate in self.pairs)
        return f"{', '.join(paces)}, where 1 is the pace at which the budget just lasts."

    @property
    def of_limits(self) -> dict[str, str]:
        """What the slower burn of each pair, which the alert compares, is of its limit; by the names of the windows."""
        found = {}
        for long, short, rate in self.pairs:
            steady, now = (f"{_BY} (slo:sli_error:ratio_rate{window})" for window in (long, short))
            limit = f"({self._limit(rate)} * {_BY} (slo:error_budget:ratio))"
            found[f"{long}, {short}"] = f"(({steady} <= {now}) or ({now} < {steady})) / {limit}{self.of}"
        return found

    @property
    def judged(self) -> str:
        """The worst pair of each promise; 0 where too few events were bad, and no sample before there is a verdict."""
        pairs = []
        for (long, _, _), (windows, expr) in zip(self.pairs, self.of_limits.items(), strict=True):
            bad = f"{_BY} (slo:bad_events:increase{self.lately or long})"
            enough = f"({bad} >= bool {_BY} (slo:bad_events:minimum))"
            pairs.append(labelled(f"({expr}) * {enough}", "pair", windows))
        return f"{_BY} ({' or '.join(pairs)}){_after_hours()}"


def _after_hours() -> str:
    """Leave out a promise that has been measured for too short a time for a verdict."""
    return " and on (sloth_slo) slo:verdict:bool == 1"


def _or_too_early(number: str) -> str:
    """Return NaN while no promise has a verdict yet: for a tile."""
    return f"{number} or NaN * max(slo:verdict:bool == 0)"


def _of_each(expr: str) -> str:
    """Return a sample for each promise, NaN where nothing is known: a column without one would not be shown."""
    return f"{expr} or on (sloth_slo) NaN * {_BY} (slo:objective:ratio)"


_FAST = _Burns("PromiseBurnsFast", QUICKLY, lately=LATELY, of=_PAGES)
_SLOW = _Burns("PromiseBurnsSlowly", SLOWLY)
# What nothing measures is 0 from the beginning, as in the alert.
_JUDGED_COVERAGE = f"{_BY} (slo:coverage:ratio){_after_hours()} or {_NOT_COVERED}"


def _burns(title: str, burns: _Burns) -> object:
    looks = (Look.PLAIN, Look.DASHED)
    return series(
        title,
        f"The slower burn of each pair of windows, which the alert compares, of its limit: {burns.says}",
        "percentunit",
        *(
            Query(expr, f"{{{{sloth_slo}}}} {windows}", look)
            for (windows, expr), look in zip(burns.of_limits.items(), looks, strict=True)
        ),
        limits=of_limit(burns.alert),
        empty="nothing was measured in these windows",
    )


dashboard = page(
    "promises",
    about=(
        "Each promise of Section 1 is a share of events that must be good over 30 days; the rest is its error budget. "
        "Bad is a budget that burns faster than it lasts: from 6 times on users notice, and it pages if no other page "
        "says why. "
        "What was not measured is unknown, not good, and there is no verdict in the first six hours (docs/promises.md)."
    ),
    tiles=[
        nodes_down(),
        figure(
            "Budget left, worst",
            "Of the promise that has least of its error budget left over 30 days, among those that page: presence-gone "
            "pages nobody and stands in the table below. Below 0: the promise is missed. A dash: the first six hours.",
            "percentunit",
            _or_too_early(f"min(slo:period_error_budget_remaining:ratio{_PAGES})"),
            of=PROMISES,
        ),
        stat(
            "Burn that pages, fastest",
            f"How fast the fastest budget burns, of the limit at which it pages: {_FAST.says} 0 while too few events "
            "are bad for a page. Promises that page nobody are left out. TOO EARLY: the first six hours.",
            "percentunit",
            _or_too_early(f"max({_FAST.judged})"),
            of_limit("PromiseBurnsFast"),
            of=PROMISES,
            idle="TOO EARLY",
        ),
        stat(
            "Measured, least",
            "Of what should have been measured in 30 days, or since measuring began, for the promise with the least. "
            "One that nothing measures is at 0 %. TOO EARLY: the first six hours.",
            "percentunit",
            _or_too_early(f"min({_JUDGED_COVERAGE})"),
            _MEASURED,
            of=PROMISES,
            idle="TOO EARLY",
        ),
        figure(
            "Promised sessions used",
            "How many sessions there are now, of the connections that Section 1 promises.",
            "percentunit",
            "sum(slo:connections:ratio)",
            of=replace(PROSODY, variable=None),
        ),
    ],
    nodes=table(
        "Promises",
        "Good events now (5m) and over 30 days, what is promised, what is left of the budget, how fast it burns, of "
        "the limits at which that pages and makes a ticket (0: too few events are bad), and how much is known because "
        "it was measured. A dash: no verdict yet, or it pages nobody. presence-gone is missed with Section 11's "
        "values, 2 x 60 + 30 s; read_timeout = 25 keeps it (docs/promises.md has the price).",
        {
            "now": Column(_of_each(f"1 - {_BY} (slo:sli_error:ratio_rate5m)"), "percentunit"),
            "30 days": Column(_of_each(f"1 - {_BY} (slo:sli_error:ratio_rate30d)"), "percentunit"),
            "promised": Column(f"{_BY} (slo:objective:ratio)", "percentunit"),
            "left": Column(_of_each(f"{_BY} (slo:period_error_budget_remaining:ratio)"), "percentunit"),
            "page": Column(_of_each(_FAST.judged), "percentunit", limits=of_limit("PromiseBurnsFast")),
            "ticket": Column(_of_each(_SLOW.judged), "percentunit", limits=of_limit("PromiseBurnsSlowly")),
            "known": Column(_of_each(_JUDGED_COVERAGE), "percentunit", limits=_MEASURED),
        },
        first=("sloth_slo", "now", "30 days", "promised", "left", "page", "ticket", "known"),
        names=_NAMES,
        overrides=[*_WHOLE, *_EXACT],
    ),
    graph=series(
        "Budget spent over 30 days",
        "From 100 % on the promise is missed. It grows back only as bad hours leave the 30 days.",
        "percentunit",
        Query(f"{_BY} (slo:period_burn_rate:ratio)", "{{sloth_slo}}"),
    ),
    exporter="synthetic",
    table=8,  # six promises
    rows=[
        row(
            "How fast the budgets burn",
            _burns("Burn that pages, of its limit", _FAST),
            _burns("Burn that makes a ticket, of its limit", _SLOW),
        ),
        row(
            "Where events are bad, room for sessions, what was measured",
            series(
                "Bad events of each pair of nodes, 30m",
                "The places where events are bad. All pairs with one node: that node. Calls: the panel beside it.",
                "short",
                Query("slo:bad_events:by_place30m", "{{sloth_slo}} {{from}} {{to}}"),
                empty="no event was bad in half an hour",
            ),
            series(
                "Bad events that involve a node",
                "Of all bad events of half an hour. One node above 90 % explains them, and a page names it.",
                "percentunit",
                Query("slo:bad_events_of_node:ratio", "{{sloth_slo}} {{instance}}"),
                empty="no event was bad in half an hour",
            ),
            series(
                "Sessions per node if one fails",
                "How many sessions each node would have if one failed and all users came to the others, evenly.",
                "locale",
                Query('sum(prosody_c2s_sessions) / (count(up{job="prosody"}) - 1)', "each node"),
                limits=above("ConnectionsHeadroomLow"),
            ),
            series(
                "Sessions tomorrow, if they go on growing",
                "The next day's peak of each node, if it is as far above this day's as that is above the day before.",
                "locale",
                'instance:prosody_c2s_sessions:forecast{instance=~"$node"} > 0',
                limits=above("ProsodySessionsCriticalSoon"),
                empty="two days have not been measured yet",
            ),
            series(
                "Measured",
                "What was measured, of what should have been, in 30 days or since measuring began. 0: nothing measures "
                "it.",
                "percentunit",
                Query(f"{_BY} (slo:coverage:ratio) or {_NOT_COVERED}", "{{sloth_slo}}"),
                limits=_MEASURED,
            ),
        ),
        folded(
            "What the alerts compare",
            table(
                "Explained by",
                "The node that more than nine of ten bad events involve, or all bad events except too few to page. "
                "none: there is no such node.",
                {"explained": Column(_NODE, "none")},
                first=("sloth_slo", "instance"),
                hidden=("explained", "__name__", "sloth_id", "sloth_service"),
                names=_NAMES | {"instance": "node"},
            ),
            table(
                "What keeps a page back",
                "A promise of severity warning pages nobody. A cause of the whole service pages in place of a promise; "
                "so does an alert about the node in the table beside.",
                {
                    "info": Column("max by (sloth_slo, severity) (sloth_slo_info)", "none"),
                    "service cause": Column(_CAUSE, "none", words={"0": ("none", CALM), "1": ("fires", CALM)}),
                },
                first=("sloth_slo", "severity", "service cause"),
                hidden=("info",),
                names=_NAMES,
            ),
            table(
                "Bad events in each window",
                "Fewer than the least number wake nobody. Seconds: how long the promise has been measured.",
                {
                    **{
                        window: Column(f"{_BY} (slo:bad_events:increase{window})")
                        for window in ("30m", "1h", "6h", "1d", "3d")
                    },
                    "least": Column(f"{_BY} (slo:bad_events:minimum)"),
                    "measured for": Column(f"{_BY} (slo:measured:seconds)", "s"),
                },
                first=("sloth_slo", "30m", "1h", "6h", "1d", "3d", "least", "measured for"),
                names=_NAMES,
                overrides=_WHOLE,
            ),
        ),
    ],
)
