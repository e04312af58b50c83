"""Promises: is what Section 1 promises kept, what is left of each budget, who spends it, and is it measured at all."""

from dashboards.limits import above, below
from dashboards.page import folded, page, row
from dashboards.panels import series
from dashboards.pieces import CALM, Look, Query, override
from dashboards.promql import PROSODY, TEST_USERS
from dashboards.prosody import nodes_down
from dashboards.tables import Column, table
from dashboards.tiles import figure, stat

_BY = "max by (sloth_slo)"
_BUDGET = "on (sloth_slo) group_left () max by (sloth_slo) (slo:error_budget:ratio)"
_BURN = above("PromiseBurnsSlowly", "PromiseBurnsFast")
_MEASURED = below("PromiseNotMeasured")
_NODE = 'label_replace(slo:explained_by:bool, "instance", "none", "instance", "")'
_CAUSE = f"{_BY} (slo:known_cause:bool) or 0 * {_BY} (slo:objective:ratio)"
_NAMES = {"sloth_slo": "promise"}
_WHOLE = [override("byName", "promise", custom__minWidth=170)]  # for the longest name


def _burn(window: str) -> str:
    """Return how many times too fast each budget burns in a window."""
    return f"{_BY} (slo:sli_error:ratio_rate{window}) / {_BUDGET}"


def _both(long: str, short: str) -> str:
    """Return the slower of two burns: an alert compares it, as both windows of its pair must be above the limit."""
    return f"({_burn(long)} <= {_burn(short)}) or ({_burn(short)} < {_burn(long)})"


def _burns(title: str, *pairs: tuple[str, str]) -> object:
    looks = (Look.PLAIN, Look.DASHED)
    return series(
        title,
        "The slower burn of each pair of windows, which the alert compares. 1: the budget lasts just long enough.",
        "short",
        *(
            Query(_both(long, short), f"{{{{sloth_slo}}}} {long}, {short}", look)
            for (long, short), look in zip(pairs, looks, strict=True)
        ),
        limits=_BURN,
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
            "Of the promise that has least of its error budget left over 30 days. Below 0: the promise is missed.",
            "percentunit",
            "min(slo:period_error_budget_remaining:ratio)",
            of=TEST_USERS,
        ),
        stat(
            "Burn in 6 hours, fastest",
            "How many times faster than it lasts the fastest budget burned in the last six hours, and in the last half "
            "hour too. The alert waits for six hours of measuring.",
            "short",
            f"max({_both('6h', '30m')})",
            above("PromiseBurnsFast"),
            of=TEST_USERS,
        ),
        stat(
            "Least measured",
            "Of what should have been measured in 30 days, or since measuring began, for the promise with the least.",
            "percentunit",
            "min(slo:coverage:ratio)",
            _MEASURED,
            of=TEST_USERS,
        ),
        figure(
            "Promised connections",
            "All sessions now, of the connections that Section 1 promises.",
            "percentunit",
            "sum(slo:connections:ratio)",
            of=PROSODY,
        ),
    ],
    nodes=table(
        "Promises",
        "Good events now (5m) and over 30 days, what is promised, what is left of the budget, how many times too fast "
        "it burns (confirmed by the last half hour, or six hours), and how much is known because it was measured. A "
        "dash: no verdict yet. presence-gone is missed with Section 11's values, 2 x 60 + 30 s; read_timeout = 25 "
        "keeps it (docs/promises.md has the price).",
        {
            "now": Column(f"1 - {_BY} (slo:sli_error:ratio_rate5m)", "percentunit"),
            "30 days": Column(f"1 - {_BY} (slo:sli_error:ratio_rate30d)", "percentunit"),
            "promised": Column(f"{_BY} (slo:objective:ratio)", "percentunit"),
            "left": Column(f"{_BY} (slo:period_error_budget_remaining:ratio)", "percentunit"),
            "burn 6h": Column(_both("6h", "30m"), "short", limits=above("PromiseBurnsFast")),
            "burn 3d": Column(_both("3d", "6h"), "short", limits=above("PromiseBurnsSlowly")),
            "known": Column(f"{_BY} (slo:coverage:ratio)", "percentunit", limits=_MEASURED),
        },
        first=("sloth_slo", "now", "30 days", "promised", "left", "burn 6h", "burn 3d", "known"),
        names=_NAMES,
        overrides=_WHOLE,
    ),
    graph=series(
        "Budget spent over 30 days",
        "From 100 % on the promise is missed. It grows back only as bad hours leave the 30 days.",
        "percentunit",
        Query(f"{_BY} (slo:period_burn_rate:ratio)", "{{sloth_slo}}"),
    ),
    exporter="synthetic",
    rows=[
        row(
            "How fast the budgets burn",
            _burns("Burn rate, windows that page", ("1h", "5m"), ("6h", "30m")),
            _burns("Burn rate, windows that make a ticket", ("1d", "2h"), ("3d", "6h")),
        ),
        row(
            "What uses them up, and room for sessions",
            series(
                "Bad events of each pair of nodes, 30m",
                "The places where events are bad. All pairs with one node: that node. Calls: the panel beside it.",
                "short",
                Query("sum by (sloth_slo, from, to) (slo:bad_events:by_place30m)", "{{sloth_slo}} {{from}} {{to}}"),
                empty="no event was bad in half an hour",
            ),
            series(
                "Bad events that involve a node",
                "Of all bad events of half an hour. One node above 90 % explains them, and a page names it.",
                "percentunit",
                Query("max by (sloth_slo, instance) (slo:bad_events_of_node:ratio)", "{{sloth_slo}} {{instance}}"),
                empty="no event was bad in half an hour",
            ),
            series(
                "Sessions for each node but the largest",
                "How many sessions each node would have if the largest failed and all its users came to the others.",
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
                "What was measured, of what should have been, over 30 days or since measuring began.",
                "percentunit",
                Query(f"{_BY} (slo:coverage:ratio)", "{{sloth_slo}}"),
                limits=_MEASURED,
            ),
        ),
        folded(
            "What the alerts compare",
            table(
                "Explained by",
                "The node that nine of ten bad events involve; none: no node does.",
                {"explained": Column(_NODE, "none")},
                first=("sloth_slo", "instance"),
                hidden=("explained", "__name__", "sloth_id", "sloth_service"),
                names=_NAMES | {"instance": "node"},
            ),
            table(
                "What keeps a page back",
                "A promise of severity warning pages nobody; a known cause pages in place of the promise.",
                {
                    "info": Column("max by (sloth_slo, severity) (sloth_slo_info)", "none"),
                    "known cause": Column(_CAUSE, "none", words={"0": ("none", CALM), "1": ("fires", CALM)}),
                },
                first=("sloth_slo", "severity", "known cause"),
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
