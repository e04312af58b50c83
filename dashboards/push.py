"""The way of a push from Prosody to the phone that it wakes, which the page of the push gateway shows."""

from dashboards.limits import above, threshold
from dashboards.page import Row, row
from dashboards.panels import heatmap, series
from dashboards.pieces import Look, Query
from dashboards.promql import GATEWAY, buckets, rates
from dashboards.tiles import stat

# The bridge's own counts: each push once, however often it was repeated, also if the gateway refused or never took it.
# prosody_push_notifications_total would not do: mod_cloud_notify asks several times for one push.
HANDED_ON = " + ".join(
    (
        rates("prosody_mod_push_http__handover_seconds_count"),
        rates("prosody_mod_push_http__refused_total"),
        rates("prosody_mod_push_http__dropped_total", where='reason="late"'),
    )
)
RECEIVED = rates("push_requests_total", where='code="200"')
_SENT = f"{rates('push_voip_sent_total')} + {rates('push_fcm_sent_total')}"
_WOKE = rates("prosody_push_wakeups_total", where='result="woke"')
P99 = 'instance_handler:push_latency_ms:p99{instance=~"$node"}'


def _p99(histogram: str) -> str:
    return f"histogram_quantile(0.99, {rates(f'{histogram}_bucket', 'kind', 'le')})"


def path() -> Row:
    """Return where on its way a push is lost."""
    calls, wake = threshold("PushCallsFailing"), threshold("PushesWakeNobody")
    silent = " / ".join(
        "sum by (instance, kind) (increase("
        f'prosody_push_wakeups_total{{result=~"{result}",instance=~"$node"}}[{wake.window}]))'
        for result in ("silent", "silent|woke")
    )
    return row(
        "The path of a push: handed on, received, sent, woke",
        series(
            "From Prosody to the phone/s",
            "handed on: by Prosody's bridge; received: by the gateway; failed: a wrong secret; sent: accepted by "
            "Apple or Google; woke: the phone came in time. Where the lines part, pushes are lost.",
            "short",
            Query(HANDED_ON, "{{instance}} handed on"),
            Query(RECEIVED, "{{instance}} received", Look.DASHED),
            Query(_SENT, "{{instance}} sent"),
            Query(_WOKE, "{{instance}} woke", Look.DASHED),
            Query(rates("push_requests_total", where='code="403"'), "{{instance}} failed: secret", Look.FAILURE),
        ),
        series(
            "From Prosody to the phone, P99",
            "to gateway: from Prosody's push to the request that the gateway took; to provider: from there to "
            "Apple's or Google's answer. Both must take less than 2 s. to phone: from Prosody's push until the "
            "phone is back.",
            "s",
            Query(_p99("prosody_mod_push_http__handover_seconds"), "{{instance}} {{kind}} to gateway"),
            Query(f"{P99} / 1000", "{{instance}} {{handler}} to provider", Look.DASHED),
            Query(_p99("prosody_push_wakeup_seconds"), "{{instance}} {{kind}} to phone"),
            empty="no pushes",
        ),
        stat(
            "Pushes that wake nobody, worst",
            f"Of the pushes that a provider took in the last {wake.window}, those whose phone did not come, on "
            "the worst node and of the worst kind. Phones that are off are among them. "
            f"The alert waits for {wake.minimum:g} of them.",
            "percentunit",
            f"max({silent})",
            above("PushesWakeNobody"),
            of=GATEWAY,
            idle="no pushes",
        ),
        stat(
            f"Failed calls in {calls.window}, worst",
            "Pushes for calls that neither Apple nor Google accepted, on the worst node, however few calls there are.",
            "locale",
            f'max(sum by (instance) (increase(push_calls_failed_total{{instance=~"$node"}}[{calls.window}])))',
            above("PushCallsFailing"),
            of=GATEWAY,
        ),
        series(
            "What followed each push/s",
            "woke: the phone came in time. silent: it did not. superseded: another push to the same token came first.",
            "short",
            Query(rates("prosody_push_wakeups_total", "kind", "result"), "{{instance}} {{kind}} {{result}}"),
        ),
        series(
            "Canaries/s",
            "Pushes to your test phones by outcome, and how often those phones came. Nothing is drawn where none "
            "is set.",
            "short",
            Query(f"{rates('push_canary_total', 'handler', 'outcome')} > 0", "{{instance}} {{handler}} {{outcome}}"),
            Query(
                f"{rates('prosody_canary_logins_total', 'handler')} > 0",
                "{{instance}} {{handler}} came",
                Look.DASHED,
            ),
            empty="no test phone was pushed to",
        ),
        heatmap(
            "How long until the phone is back",
            "From Prosody's push to the phone's login or resumption, over the chosen nodes.",
            "s",
            buckets("prosody_push_wakeup_seconds"),
        ),
    )
