"""Alerts about the push gateway that runs beside Prosody on every node."""

from typing import Final

from alerts.catalogue.alert import Alert

_DASHBOARD: Final = "push-gateway-health"


def _failures(name: str, provider: str, recorded: str, failed: str, advice: str) -> Alert:
    return Alert(
        name=name,
        # 0/0 is NaN, which is above nothing: no traffic is silent.
        expr=f"{recorded} > <value> and increase({failed}[<window>]) >= <minimum>",
        summary=(
            f"{{{{ $labels.instance }}}}: {{{{ $value | humanizePercentage }}}} of {provider} pushes fail (limit "
            f"<limit>)"
        ),
        description=advice,
        dashboard=_DASHBOARD,
    )


ALERTS: Final = (
    Alert(
        name="PushGatewayDown",
        expr="push_gateway_up == 0",
        summary="{{ $labels.instance }}: the push gateway is down",
        description=(
            "For senders on this node, sleeping phones do not ring and show no message. Restart it and read its log."
        ),
        dashboard=_DASHBOARD,
    ),
    _failures(
        "PushVoipFailuresHigh",
        "VoIP",
        "instance:push_voip_failed:ratio",
        "push_voip_failed_total",
        "Calls to sleeping iPhones do not ring. Look at the reasons of failure; check the APNs key and its "
        "environment.",
    ),
    _failures(
        "PushFcmFailuresHigh",
        "FCM",
        "instance:push_fcm_failed:ratio",
        "push_fcm_failed_total",
        "Messages, and calls to Android phones, are not announced. Look at the reasons of failure; check the "
        "service account.",
    ),
    Alert(
        # A ratio over minutes is silent when a call comes each half hour and every one of them fails.
        # round: what increase() adds for the ends of the window would make three calls more than three.
        name="PushCallsFailing",
        expr="round(sum by (job, instance) (increase(push_calls_failed_total[<window>]))) > <value>",
        summary='{{ $labels.instance }}: {{ $value | printf "%.0f" }} calls failed in <window> (limit <limit>)',
        description=(
            "Each of these calls to a sleeping phone did not ring. See whether they were for iPhones or Android "
            "phones, and why they failed."
        ),
        dashboard=_DASHBOARD,
    ),
    Alert(
        name="PushVoipCredentialsInvalid",
        expr='push_credentials_valid{handler="voip"} == 0',
        summary="{{ $labels.instance }}: the gateway has no valid credentials for APNs",
        description=("No call to a sleeping iPhone rings. The log says what is wrong with the key; fix it and reload."),
        dashboard=_DASHBOARD,
    ),
    Alert(
        name="PushFcmCredentialsInvalid",
        expr='push_credentials_valid{handler="fcm"} == 0',
        summary="{{ $labels.instance }}: the gateway has no valid credentials for FCM",
        description=(
            "Phones are not woken for messages, and calls to Android do not ring. The log says what is wrong with "
            "the service "
            "account."
        ),
        dashboard=_DASHBOARD,
    ),
    Alert(
        # Without valid credentials nothing can be sent either; that is the alert above.
        name="PushProviderUnreachable",
        expr="push_provider_state == 0 and push_credentials_valid == 1",
        summary="{{ $labels.instance }}: no {{ $labels.handler }} push can be sent: its provider cannot be reached",
        description=(
            "Sleeping phones do not ring, or show no message. See whether the provider or this node's network is down."
        ),
        dashboard=_DASHBOARD,
    ),
    Alert(
        name="PushKeyFileExposed",
        expr="push_key_file_private == 0",
        summary="{{ $labels.instance }}: others can read the key file of the handler {{ $labels.handler }}",
        description="Anyone who has the key can push to every phone. Run chmod 600 on it; the log names the file.",
        dashboard=_DASHBOARD,
    ),
    Alert(
        # A phone logs in on any node, so all nodes count together. An exporter that does not count logins is no zero.
        name="PushCanaryLost",
        expr=(
            'sum by (job, handler) (increase(push_canary_total{outcome!="validated"}[<window>])) >= <minimum>\n'
            "and on (handler) sum by (handler) (increase(prosody_canary_logins_total[<window>])) == 0"
        ),
        summary=(
            'no test phone logged in after {{ $value | printf "%.0f" }} {{ $labels.handler }} canary pushes in <window>'
        ),
        description=(
            "A test phone that works is not woken, so users' phones may not be woken either. The runbook lists the "
            "causes."
        ),
        dashboard=_DASHBOARD,
        variable=None,
    ),
    Alert(
        # About Prosody's phones; no variable of the dashboard lists its nodes. 0/0 is NaN, which is above nothing.
        name="PushesWakeNobody",
        expr=(
            "instance_kind:prosody_pushes_silent:ratio > <value>\n"
            "and instance_kind:prosody_pushes_silent:increase >= <minimum>"
        ),
        summary=(
            "{{ $labels.instance }}: {{ $value | humanizePercentage }} of {{ $labels.kind }} pushes wake no phone "
            "(limit <limit>)"
        ),
        description="The providers accept the pushes, but phones do not log in. The runbook lists the causes.",
        dashboard=_DASHBOARD,
        variable=None,
    ),
    Alert(
        name="PushSecretRefused",
        expr='increase(push_requests_total{code="403"}[<window>]) > 0',
        summary="{{ $labels.instance }}: the gateway refuses pushes for a wrong secret",
        description=(
            "If Prosody sends the requests, no phone rings. Compare PUSH_SECRET with push_http_secret, then restart "
            "both."
        ),
        dashboard=_DASHBOARD,
    ),
    Alert(
        name="PushLatencyHigh",
        expr=(
            "instance_handler:push_latency_ms:p99 > <value>\nand increase(push_latency_ms_count[<window>]) >= <minimum>"
        ),
        summary=(
            "{{ $labels.instance }}: 1 in 100 {{ $labels.handler }} pushes takes longer than "
            '{{ $value | printf "%.0f" }} ms (limit <limit>)'
        ),
        description=(
            "Phones ring late or after the caller has given up. See which stage is slow: queue, connection or provider."
        ),
        dashboard=_DASHBOARD,
    ),
    Alert(
        name="PushGatewayCrashLoop",
        expr="resets(push_gateway_uptime_seconds[<window>]) > <value>",
        summary='{{ $labels.instance }}: the push gateway restarted {{ $value | printf "%.0f" }} times in <window>',
        description=(
            "Pushes are lost at every restart. Read the log of its last minutes; check settings and credentials."
        ),
        dashboard=_DASHBOARD,
    ),
    Alert(
        name="PushGatewayMemoryHigh",
        expr="push_gateway_memory_bytes > <value>",
        summary="{{ $labels.instance }}: the push gateway uses {{ $value | humanize }}B of memory (limit <limit>)",
        description=(
            "At 200 MB systemd kills and restarts it, and pushes in flight are lost. Restart it at a quiet time; "
            "look for a leak."
        ),
        dashboard=_DASHBOARD,
    ),
)
