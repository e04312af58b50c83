"""Push Gateway Health: do calls ring and messages arrive, how fast, and which provider, reason or stage is why."""

from dashboards.limits import above, rest_of, threshold
from dashboards.page import folded, page, row
from dashboards.panels import heatmap, series, states
from dashboards.pieces import CALM, CRITICAL, Look, Query
from dashboards.promql import GATEWAY, judged, labelled, rate, rates
from dashboards.push import HANDED_ON, P99, RECEIVED, path
from dashboards.tables import Column, nodes
from dashboards.tiles import broken, stat

_VOIP = threshold("PushVoipFailuresHigh")
_FCM = threshold("PushFcmFailuresHigh")
_SLOW = threshold("PushLatencyHigh")
_CRASHES = threshold("PushGatewayCrashLoop")

# What the last minutes said of a gateway that is down says nothing of it now.
_ALIVE = 'on (instance) push_gateway_up{instance=~"$node"} == 1'
_VOIP_FAILED = 'instance:push_voip_failed:ratio{instance=~"$node"}'
_FCM_FAILED = 'instance:push_fcm_failed:ratio{instance=~"$node"}'
_VOIP_JUDGED, _FCM_JUDGED, _P99_JUDGED = (
    judged(f"{watched} and {_ALIVE}", alert, f'increase({counter}{{instance=~"$node"}}[{alert.window}])')
    for watched, alert, counter in (
        (_VOIP_FAILED, _VOIP, "push_voip_failed_total"),
        (_FCM_FAILED, _FCM, "push_fcm_failed_total"),
        (P99, _SLOW, "push_latency_ms_count"),
    )
)
_MEMORY = 'push_gateway_memory_bytes{instance=~"$node"}'

_BUCKETS = "instance_handler_le:push_latency_ms_bucket:rate2m"


def _of_both(outcome: str) -> str:
    counters = {handler: rate(f"push_{handler}_{outcome}_total") for handler in ("voip", "fcm")}
    return " or ".join(labelled(each, "handler", name) for name, each in counters.items())


dashboard = page(
    "push-gateway-health",
    about=(
        "Beside each Prosody a push gateway wakes sleeping phones: calls through Apple (VoIP), messages and Android "
        "through Google (FCM). "
        "Bad is a gateway that is down, or pushes that fail or take longer than 2 s: calls do not ring. "
        "One handler fails and the other does not: that provider or its credentials; both fail: the node's network."
    ),
    tiles=[
        broken("Gateways down", "Nodes whose push gateway does not answer: no phone rings there.", GATEWAY),
        stat(
            "VoIP success, worst",
            f"Share of calls that Apple accepted in the last {_VOIP.window}, on the worst node. "
            f"Below {_VOIP.minimum:g} failures there is no alert: too few.",
            "percentunit",
            f"1 - max({_VOIP_JUDGED})",
            rest_of("PushVoipFailuresHigh"),
            of=GATEWAY,
            idle="too few",
        ),
        stat(
            "FCM success, worst",
            f"Share of pushes that Google accepted in the last {_FCM.window}, on the worst node. "
            f"Below {_FCM.minimum:g} failures there is no alert: too few.",
            "percentunit",
            f"1 - max({_FCM_JUDGED})",
            rest_of("PushFcmFailuresHigh"),
            of=GATEWAY,
            idle="too few",
        ),
        stat(
            "Latency P99, worst",
            "From request to the provider's answer, on the worst node and handler; one push in a hundred took longer. "
            f"Below {_SLOW.minimum:g} pushes there is no alert: too few.",
            "ms",
            f"max({_P99_JUDGED})",
            above("PushLatencyHigh"),
            of=GATEWAY,
            idle="too few",
        ),
        stat(
            f"Restarts in {_CRASHES.window}, worst",
            "How often a gateway started again. One is a deployment, more are a loop.",
            "none",
            f'max(resets(push_gateway_uptime_seconds{{instance=~"$node"}}[{_CRASHES.window}]))',
            above("PushGatewayCrashLoop"),
            of=GATEWAY,
            outlives=True,
        ),
    ],
    nodes=nodes(
        "Nodes",
        "Each gateway now, coloured by its alerts; a dash also where there is too little for an alert. Pushed: what "
        "the Prosody beside it hands on a second; received: what the gateway takes a second.",
        GATEWAY,
        {
            "pushed": Column(HANDED_ON, outlives=True),
            "received": Column(RECEIVED),
            "VoIP bad": Column(
                f"max by (instance) ({_VOIP_JUDGED})", "percentunit", limits=above("PushVoipFailuresHigh")
            ),
            "FCM bad": Column(f"max by (instance) ({_FCM_JUDGED})", "percentunit", limits=above("PushFcmFailuresHigh")),
            "P99": Column(f"max by (instance) ({_P99_JUDGED})", "ms", limits=above("PushLatencyHigh")),
            "memory": Column(f"max by (instance) ({_MEMORY})", "decbytes", limits=above("PushGatewayMemoryHigh")),
            "ready": Column(
                'min by (instance) (push_provider_state{instance=~"$node"})',
                "none",
                words={"0": ("NO", CRITICAL), "1": ("yes", CALM)},
            ),
        },
    ),
    graph=series(
        "Handed on and received/s",
        "Pushes that Prosody's bridge handed on, above zero, and those that the gateway took, below. A lasting "
        "difference: the gateway refuses pushes, or does not take them in time.",
        "short",
        Query(HANDED_ON, "{{instance}} handed on"),
        Query(RECEIVED, "{{instance}} received", Look.BELOW),
    ),
    alerts=("PushesWakeNobody",),  # Prosody sees whether a phone comes back
    rows=[
        row(
            "Pushes and failures, and how long they take",
            series(
                "Pushes/s",
                "Pushes that the providers accepted, and those that failed for whatever cause. Through voip go calls "
                "to iPhones, through fcm messages and calls to Android.",
                "short",
                Query(_of_both("sent"), "{{instance}} {{handler}}"),
                Query(_of_both("failed"), "{{instance}} {{handler}} failed", Look.FAILURE),
                Query(
                    rates("push_calls_failed_total", where='handler="fcm"'),
                    "{{instance}} fcm failed: calls",
                    Look.FAILURE,
                ),
            ),
            series(
                "Latency",
                "From request to the provider's answer, retries included. P99: one push in a hundred took longer.",
                "ms",
                Query(P99, "{{instance}} {{handler}} P99"),
                Query(
                    'instance_handler:push_latency_ms:p50{instance=~"$node"}',
                    "{{instance}} {{handler}} P50",
                    Look.DASHED,
                ),
                limits=above("PushLatencyHigh"),
                empty="no pushes",
            ),
            series(
                "VoIP: share that fails",
                "Failed of all calls, as the alert sees it. Nothing is drawn where nothing was pushed.",
                "percentunit",
                _VOIP_FAILED,
                limits=above("PushVoipFailuresHigh"),
                empty="no pushes",
            ),
            series(
                "FCM: share that fails",
                "Failed of all pushes, as the alert sees it. Nothing is drawn where nothing was pushed.",
                "percentunit",
                _FCM_FAILED,
                limits=above("PushFcmFailuresHigh"),
                empty="no pushes",
            ),
        ),
        row(
            "Is it ready, and how full is it",
            states(
                "Ready to send",
                "Whether a push that arrives now can be sent at once. The provider may still refuse it: see Failures/s "
                "by reason.",
                'push_provider_state{instance=~"$node"}',
                legend="{{instance}} {{handler}}",
                good="READY",
                bad="NOT READY",
            ),
            states(
                "Credentials valid",
                "Whether the key file is in order and the access token valid. The provider may still refuse it: see "
                "Failures/s by reason.",
                'push_credentials_valid{instance=~"$node"}',
                legend="{{instance}} {{handler}}",
                good="VALID",
                bad="NOT VALID",
            ),
            states(
                "Key files private",
                "Whether only the gateway's own account may read the key file.",
                'push_key_file_private{instance=~"$node"}',
                legend="{{instance}} {{handler}}",
                good="PRIVATE",
                bad="NOT PRIVATE",
            ),
            series(
                "Pushes in flight",
                "Pushes that wait for their turn or for a provider's answer. A rising line: a provider that is slow.",
                "short",
                Query('push_inflight{instance=~"$node"}', "{{instance}} {{handler}}"),
            ),
            series(
                "Memory",
                "Resident memory of the gateway. The service manager ends it at 200 MB.",
                "decbytes",
                _MEMORY,
                limits=above("PushGatewayMemoryHigh"),
            ),
        ),
        path(),
        folded(
            "Why they fail",
            series(
                "Failures/s by reason",
                "The provider's own words first, then the gateway's. BadDeviceToken: sandbox and production are mixed "
                "up.",
                "short",
                Query(
                    'instance_handler_reason:push_failures:rate2m{instance=~"$node"}',
                    "{{instance}} {{handler}} {{reason}}",
                    Look.FAILURE,
                ),
                empty="no push that a gateway took has failed",
            ),
            series(
                "Retries/s by reason",
                "Further tries, by why the one before failed. Many retries without failures: still only slow.",
                "short",
                Query(
                    'instance_handler_reason:push_retries:rate2m{instance=~"$node"}',
                    "{{instance}} {{handler}} {{reason}}",
                ),
                empty="no push was tried twice",
            ),
            series(
                "Answers to Prosody/s",
                "Requests on /push by status. 403: the shared secret differs; 429: too many; 400: a wrong module.",
                "short",
                Query('instance_code:push_requests:rate2m{instance=~"$node"}', "{{instance}} {{code}}"),
                empty="no requests",
            ),
            series(
                "Expired before delivery/s",
                "Pushes that came to be too old to send: a call that has ended must not ring.",
                "short",
                Query(rates("push_expired_total", "handler"), "{{instance}} {{handler}}"),
            ),
            series(
                "Unregistered tokens/s",
                "Phones that were reset or lost the app, as the provider says. Not failures; a wave follows an app "
                "release.",
                "short",
                Query('instance_handler:push_unregistered:rate2m{instance=~"$node"}', "{{instance}} {{handler}}"),
            ),
            series(
                "Connections to the providers/s",
                "One long connection each is normal. Many: a provider or a firewall that closes them.",
                "short",
                Query(rates("push_connections_total", "handler"), "{{instance}} {{handler}}"),
            ),
        ),
        folded(
            "Where the time goes",
            series(
                "Stages of a try, P99",
                "queue: waiting for the try to begin; token: for an access token; connect: for a connection and a free "
                "stream; provider: for the answer.",
                "s",
                Query(
                    'instance_handler_stage:push_stage_seconds:p99{instance=~"$node"}',
                    "{{instance}} {{handler}} {{stage}}",
                ),
                empty="no pushes",
            ),
            heatmap(
                "Latency of calls, distribution",
                "How often a VoIP push took how long, over the chosen nodes.",
                "ms",
                f'sum by (le) ({_BUCKETS}{{handler="voip",instance=~"$node"}})',
            ),
            heatmap(
                "Latency of FCM, distribution",
                "How often an FCM push took how long, over the chosen nodes.",
                "ms",
                f'sum by (le) ({_BUCKETS}{{handler="fcm",instance=~"$node"}})',
            ),
        ),
        folded(
            "Which node, and since when",
            states(
                "Gateway answers", "Whether Prometheus can scrape the gateway.", 'push_gateway_up{instance=~"$node"}'
            ),
            series(
                "Time since the last start",
                "Falls to 0 at each restart. Restarts every few seconds hide between two scrapes: see the tile above.",
                "s",
                'push_gateway_uptime_seconds{instance=~"$node"}',
            ),
        ),
    ],
)
