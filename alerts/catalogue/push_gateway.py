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
            "Phones that sleep do not ring, and show no message, for senders on this node. Restart it and read its log."
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
            "At 200 MB it is ended and restarted, and pushes in flight are lost. Restart it at a quiet moment; look "
            "for a leak."
        ),
        dashboard=_DASHBOARD,
    ),
)
