"""Alerts about what Section 1 promises: how fast the budgets burn, whether they are measured, and room for sessions."""

from typing import Final

from alerts.catalogue.alert import Alert

_DASHBOARD: Final = "promises"
_BY: Final = "sloth_service, sloth_slo, sloth_id"
# Alerts whose `instance` is a node that its users lose with it.
NODE_CAUSES: Final = (
    *("NodeDown", "TargetDown", "ProsodyDown", "CoturnDown", "PushGatewayDown", "PushGatewayCrashLoop"),
)
# Long window, short window, how many times faster than the budget lasts: 2, 5, 10 and 10 % of 30 days' budget.
QUICKLY: Final = (("1h", "5m", "14.4"), ("6h", "30m", "<value>"))
# The bad events of a page are new: hours after an outage the long windows hold enough of it for one lost probe to page.
LATELY: Final = "30m"
SLOWLY: Final = (("1d", "2h", "3"), ("3d", "6h", "<value>"))
_PROMISE: Final = "{{ $labels.sloth_slo }}"
_FAST: Final = "Users notice: messages, logins or calls fail. No other page says why. See which node or pair it is."
_SLOW: Final = "At this pace the promise of 30 days is not kept. See which node or pair spends the budget, and when."
_UNKNOWN: Final = "What was not measured may have been bad. Look at the exporter that measures it, and at Prometheus."
_SILENT: Final = "It pages nobody: it silences the burn of a promise that another page explains, and 35 minutes longer."


def _burns(pairs: tuple[tuple[str, str, str], ...], lately: str = "") -> str:
    """Return how many times too fast a budget burns, in the long window of a pair, while the short one confirms it.

    `lately` is the window that must hold enough bad events, in place of the long one.
    """
    return "\n  or\n".join(
        f"  slo:sli_error:ratio_rate{long} / on ({_BY}) slo:error_budget:ratio > {rate}\n"
        f"  and slo:sli_error:ratio_rate{short} / on ({_BY}) slo:error_budget:ratio > {rate}\n"
        f"  and slo:bad_events:increase{lately or long} >= on ({_BY}) slo:bad_events:minimum"
        for long, short, rate in pairs
    )


_MEASURED: Final = "and on (sloth_id) slo:measured:seconds >= <minimum>"

ALERTS: Final = (
    Alert(
        name="PromiseBurnsFast",
        expr=(
            f"(\n  (\n{_burns(QUICKLY, LATELY)}\n  )\n"
            f'  {_MEASURED}\n  and on (sloth_id) sloth_slo_info{{severity="critical"}}\n)\n'
            "* on (sloth_id) group_left (instance) slo:explained_by:bool"
        ),
        summary=(
            f'{_PROMISE}: the error budget burns {{{{ $value | printf "%.1f" }}}} times too fast'
            "{{ with $labels.instance }}, on {{ . }}{{ end }}"
        ),
        description=_FAST,
        dashboard=_DASHBOARD,
        variable=None,
        labels={"sloth_severity": "page"},
    ),
    Alert(
        name="PromiseBurnsSlowly",
        expr=f"(\n{_burns(SLOWLY)}\n)\n{_MEASURED}",
        summary=f'{_PROMISE}: the error budget burns {{{{ $value | printf "%.1f" }}}} times too fast, for days',
        description=_SLOW,
        dashboard=_DASHBOARD,
        variable=None,
        labels={"sloth_severity": "ticket"},
    ),
    # A promise that nothing measures has no coverage at all.
    Alert(
        name="PromiseNotMeasured",
        expr=(
            "slo:coverage:ratio < <value> and slo:measured:seconds >= <minimum>\n"
            "or\n0 * (slo:objective:ratio unless slo:coverage:ratio)"
        ),
        summary=f"{_PROMISE}: only {{{{ $value | humanizePercentage }}}} of it was measured (needs <limit>)",
        description=_UNKNOWN,
        dashboard=_DASHBOARD,
        variable=None,
    ),
    # All nodes but one, each full, hold as many as all nodes have now: then the largest finds room when it fails.
    Alert(
        name="ConnectionsHeadroomLow",
        expr='sum(prosody_c2s_sessions) / (count(up{job="prosody"}) - 1) > <value>',
        summary=(
            'if the largest node fails, the others have {{ $value | printf "%.0f" }} sessions each (limit <limit>)'
        ),
        description=(
            "If a node fails, the others have no room for its users. Add a node, or memory, before that happens."
        ),
        dashboard=_DASHBOARD,
        variable=None,
    ),
    # It notifies nobody. While it fires, Alertmanager does not say again what the cause said.
    Alert(
        name="KnownCause",
        expr=(
            "label_replace(\n  label_replace(\n"
            "    group by (instance) (max_over_time(\n"
            f'      ALERTS{{alertstate="firing",severity="critical",alertname=~"{"|".join(NODE_CAUSES)}"}}[<window>]\n'
            "    )),\n"
            '    "from", "$1", "instance", "(.+)"\n  ),\n  "to", "$1", "instance", "(.+)"\n)'
        ),
        summary="{{ $labels.instance }}: a page of this node explains what its users lose",
        description=_SILENT,
        dashboard=_DASHBOARD,
        variable=None,
        labels={"of": "node"},
    ),
    Alert(
        name="KnownCause",
        expr="slo:known_cause:bool == 1",
        summary=f"{_PROMISE}: a page about the whole service explains the burn",
        description=_SILENT,
        dashboard=_DASHBOARD,
        variable=None,
        labels={"of": "promise"},
    ),
)
