"""Push Gateway Health: do calls ring and messages arrive, how fast, and which provider, reason or stage is why."""

from dashboards.limits import THRESHOLDS, above, none_may_be, rest_of
from dashboards.page import folded, page, row
from dashboards.panels import Query, heatmap, series, stat, states
from dashboards.promql import buckets, rate, rates, unanswered

_VOIP = THRESHOLDS["PushVoipFailuresHigh"]
_FCM = THRESHOLDS["PushFcmFailuresHigh"]
_SLOW = THRESHOLDS["PushLatencyHigh"]
_CRASHES = THRESHOLDS["PushGatewayCrashLoop"]

dashboard = page(
    "push-gateway-health",
    about=(
        "Beside each Prosody a push gateway wakes sleeping phones: calls through Apple (VoIP), messages and Android "
        "through Google (FCM). "
        "Bad is a gateway that is down, or pushes that fail or take longer than 2 s: calls do not ring. "
        "One handler fails and the other does not: that provider or its credentials; both fail: the node's network."
    ),
    health=[
        stat(
            "Gateways that do not answer",
            "Of the gateways Prometheus scrapes, those that do not answer.",
            "none",
            unanswered("push-gateway", "push_gateway_up"),
            none_may_be("PushGatewayDown"),
        ),
        stat(
            "VoIP success, worst node",
            f"Share of calls that Apple accepted in the last {_VOIP.window}. "
            f"The alert waits for {_VOIP.minimum:g} failures.",
            "percentunit",
            '1 - max(instance:push_voip_failed:ratio{instance=~"$node"})',
            rest_of("PushVoipFailuresHigh"),
            idle="no pushes",
        ),
        stat(
            "FCM success, worst node",
            f"Share of pushes that Google accepted in the last {_FCM.window}. "
            f"The alert waits for {_FCM.minimum:g} failures.",
            "percentunit",
            '1 - max(instance:push_fcm_failed:ratio{instance=~"$node"})',
            rest_of("PushFcmFailuresHigh"),
            idle="no pushes",
        ),
        stat(
            "Latency P99, worst handler",
            "From request to the provider's answer; one push in a hundred took longer. "
            f"The alert waits for {_SLOW.minimum:g} pushes.",
            "ms",
            'max(instance_handler:push_latency_ms:p99{instance=~"$node"})',
            above("PushLatencyHigh"),
            idle="no pushes",
        ),
        stat(
            f"Restarts in {_CRASHES.window}, worst node",
            "How often a gateway started anew. One is a deployment, more are a loop.",
            "none",
            f'max(resets(push_gateway_uptime_seconds{{instance=~"$node"}}[{_CRASHES.window}]))',
            above("PushGatewayCrashLoop"),
        ),
    ],
    rows=[
        row(
            "Pushes and failures, and how long they take",
            series(
                "Pushes a second",
                "Pushes that the providers accepted, and those that failed for whatever cause.",
                "suffix:pushes/s",
                Query(rate("push_voip_sent_total"), "{{instance}} voip"),
                Query(rate("push_fcm_sent_total"), "{{instance}} fcm"),
                Query(rate("push_voip_failed_total"), "{{instance}} voip failed"),
                Query(rate("push_fcm_failed_total"), "{{instance}} fcm failed"),
            ),
            series(
                "VoIP: share that fails",
                "Failed of all calls, as the alert sees it. Nothing is drawn where nothing was pushed.",
                "percentunit",
                'instance:push_voip_failed:ratio{instance=~"$node"}',
                limits=above("PushVoipFailuresHigh"),
                empty="No pushes.",
            ),
            series(
                "FCM: share that fails",
                "Failed of all pushes, as the alert sees it. Nothing is drawn where nothing was pushed.",
                "percentunit",
                'instance:push_fcm_failed:ratio{instance=~"$node"}',
                limits=above("PushFcmFailuresHigh"),
                empty="No pushes.",
            ),
            series(
                "Latency",
                "From request to the provider's answer, retries included. P99: one push in a hundred took longer.",
                "ms",
                Query('instance_handler:push_latency_ms:p99{instance=~"$node"}', "{{instance}} {{handler}} P99"),
                Query('instance_handler:push_latency_ms:p50{instance=~"$node"}', "{{instance}} {{handler}} P50"),
                limits=above("PushLatencyHigh"),
                empty="No pushes.",
            ),
            across=4,
        ),
        row(
            "How full it is, and whether it is ready",
            series(
                "Pushes in flight",
                "Pushes that wait for their turn or for a provider's answer. A rising line: a provider that is slow.",
                "locale",
                Query('push_inflight{instance=~"$node"}', "{{instance}} {{handler}}"),
            ),
            series(
                "Memory",
                "Resident memory of the gateway. The service manager ends it at 200 MB.",
                "decbytes",
                'push_gateway_memory_bytes{instance=~"$node"}',
                limits=above("PushGatewayMemoryHigh"),
            ),
            states(
                "Ready to send",
                "Whether a push that arrives now can be sent at once.",
                Query('push_provider_state{instance=~"$node"}', "{{instance}} {{handler}}"),
                good="READY",
                bad="NOT READY",
            ),
        ),
        folded(
            "Why they fail",
            series(
                "Failures by reason",
                "The provider's own words first, then the gateway's. BadDeviceToken: sandbox and production are mixed "
                "up.",
                "suffix:failures/s",
                Query(
                    'instance_handler_reason:push_failures:rate2m{instance=~"$node"}',
                    "{{instance}} {{handler}} {{reason}}",
                ),
                empty="No push has failed.",
            ),
            series(
                "Retries by reason",
                "Further tries, by why the one before failed. Many retries without failures: still only slow.",
                "suffix:retries/s",
                Query(
                    'instance_handler_reason:push_retries:rate2m{instance=~"$node"}',
                    "{{instance}} {{handler}} {{reason}}",
                ),
                empty="No push was tried twice.",
            ),
            series(
                "Answers to Prosody",
                "Requests on /push by status. 403: the shared secret differs; 429: too many; 400: a wrong module.",
                "suffix:requests/s",
                Query('instance_code:push_requests:rate2m{instance=~"$node"}', "{{instance}} {{code}}"),
                empty="No requests.",
            ),
            series(
                "Dropped for being late",
                "Pushes that came to be too old to send: a call that has ended must not ring.",
                "suffix:pushes/s",
                Query(rates("push_expired_total", "handler"), "{{instance}} {{handler}}"),
            ),
            series(
                "Tokens given up by the provider",
                "Phones that were reset or lost the app. Not failures; a wave follows an app release.",
                "suffix:pushes/s",
                Query(rates("push_unregistered_total", "handler"), "{{instance}} {{handler}}"),
            ),
            states(
                "Credentials valid",
                "Whether the key file is in order and the access token valid.",
                Query('push_credentials_valid{instance=~"$node"}', "{{instance}} {{handler}}"),
                good="VALID",
                bad="NOT VALID",
            ),
        ),
        folded(
            "Where the time goes",
            series(
                "Stages of a try, P99",
                "queue: waiting for its turn; connect: for a connection and a free stream; provider: for the answer.",
                "s",
                Query(
                    'instance_handler_stage:push_stage_seconds:p99{instance=~"$node"}',
                    "{{instance}} {{handler}} {{stage}}",
                ),
                empty="No pushes.",
            ),
            heatmap(
                "Latency of calls, distribution",
                "How often a VoIP push took how long, over the chosen nodes.",
                "ms",
                buckets("push_latency_ms", where='handler="voip"'),
            ),
            heatmap(
                "Latency of FCM, distribution",
                "How often an FCM push took how long, over the chosen nodes.",
                "ms",
                buckets("push_latency_ms", where='handler="fcm"'),
            ),
        ),
        folded(
            "Which node, and since when",
            states(
                "Gateway answers",
                "Whether Prometheus can scrape the gateway.",
                'push_gateway_up{instance=~"$node"}',
            ),
            series(
                "Time since the last start",
                "Saws down at each restart. Restarts every few seconds hide between two scrapes: see the stat above.",
                "s",
                'push_gateway_uptime_seconds{instance=~"$node"}',
            ),
            series(
                "Connections made to the providers",
                "One long connection each is normal. Many: a provider or a firewall that closes them.",
                "suffix:connections/s",
                Query(rates("push_connections_total", "handler"), "{{instance}} {{handler}}"),
            ),
        ),
    ],
)
