"""The way of a push from Prosody to the phone that it wakes, which the page of the push gateway shows."""

from alerts.panels import STEPS
from dashboards.limits import above, threshold
from dashboards.page import Row, row
from dashboards.panels import heatmap, series
from dashboards.pieces import Look, Query
from dashboards.promql import GATEWAY, PROSODY, Services, buckets, judged, labelled, rates
from dashboards.tiles import stat

HANDED_ON, RECEIVED = (
    " + ".join(rates(counter, where=where) for counter, where in STEPS[step]) for step in ("handed on", "received")
)
P99 = 'instance_handler:push_latency_ms:p99{instance=~"$node"}'


def _p99(histogram: str) -> str:
    return f'instance_kind:{histogram}:p99{{instance=~"$node"}}'


# How long parts of the way took, by Prosody. Behind a gateway that hangs, what is recorded is of the past.
_LEGS = " or ".join(
    labelled(f"{_p99(histogram)} and on (instance) {GATEWAY.answering}", "leg", leg)
    for leg, histogram in {
        "to gateway": "prosody_mod_push_http__handover_seconds",
        "to phone": "prosody_push_wakeup_seconds",
    }.items()
)


def path() -> Row:
    """Return where on its way a push is lost."""
    calls, wake = threshold("PushCallsFailing"), threshold("PushesWakeNobody")
    ratio, silent = (
        f'instance_kind:prosody_pushes_silent:{what}{{instance=~"$node"}}' for what in ("ratio", "increase")
    )
    wake_nobody = judged(ratio, wake, silent)
    return row(
        "The path of a push: handed on, received, sent, woke",
        series(
            "Pushes at each step/s",
            "handed on: by Prosody's bridge; received: by the gateway; failed: a wrong secret; sent: accepted by "
            "Apple or Google; woke: the phone came in time. Where the lines part, pushes are lost.",
            "short",
            Query('instance_step:pushes:rate2m{instance=~"$node"}', "{{instance}} {{step}}"),
            Query(rates("push_requests_total", where='code="403"'), "{{instance}} failed: secret", Look.FAILURE),
        ),
        series(
            "From Prosody to the phone, P99",
            "to gateway: from Prosody's push to the request that the gateway took; to provider: from there to "
            "Apple's or Google's answer. Both must take less than 2 s. to phone: from Prosody's push until the "
            "phone is back.",
            "s",
            Query(_LEGS, "{{instance}} {{kind}} {{leg}}"),
            Query(labelled(f"{P99} / 1000", "leg", "to provider"), "{{instance}} {{handler}} {{leg}}", Look.DASHED),
            empty="no pushes",
        ),
        stat(
            "Accepted pushes that wake nobody, worst",
            f"Of the pushes that a provider took in the last {wake.window}, those whose phone did not come, on "
            "the worst node and of the worst kind. Phones that are off are among them. "
            f"Below {wake.minimum:g} of them there is no alert: too few.",
            "percentunit",
            f"max({wake_nobody})",
            above("PushesWakeNobody"),
            of=Services((PROSODY, GATEWAY)),
            idle="too few",
        ),
        stat(
            f"Failed calls in {calls.window}, worst",
            "Pushes for calls that neither Apple nor Google accepted, on the worst node, however few calls there are.",
            "locale",
            # round: what increase() adds for the ends of the window would make three calls more than three.
            f'max(round(sum by (instance) (increase(push_calls_failed_total{{instance=~"$node"}}[{calls.window}]))))',
            above("PushCallsFailing"),
            of=GATEWAY,
            outlives=True,
        ),
        series(
            "What followed each accepted push/s",
            "Of the pushes that a provider took. woke: the phone came in time. silent: it did not. superseded: another "
            "push to the same token came first.",
            "short",
            *(
                Query(
                    f'instance_kind_result:prosody_push_wakeups:rate2m{{kind="{kind}",instance=~"$node"}} > 0',
                    f"{{{{instance}}}} {kind} {{{{result}}}}",
                    look,
                )
                for kind, look in (("call", Look.PLAIN), ("message", Look.DASHED))
            ),
            empty="no phone was pushed to",
        ),
        series(
            "Canaries/s",
            "Pushes to your test phones by outcome, and how often those phones came. Nothing is drawn where none "
            "is set.",
            "short",
            Query(
                'instance_handler_outcome:push_canary:rate2m{instance=~"$node"}',
                "{{instance}} {{handler}} {{outcome}}",
            ),
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
