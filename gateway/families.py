"""The gateway's metric families as one table. What fills them is `collector`."""

from __future__ import annotations

from toolkit.families import Families, Family

FAMILIES = Families(
    Family("gauge", "push_gateway_uptime_seconds", (), "Seconds since the gateway started."),
    Family("gauge", "push_gateway_memory_bytes", (), "Resident memory of the gateway."),
    Family("gauge", "push_gateway_build_info", ("version",), "1, with the gateway's version."),
    Family("counter", "push_requests_total", ("code",), "Answers to POST /push, by status code."),
    Family("counter", "push_voip_sent_total", (), "Pushes that APNs accepted."),
    Family(
        "counter",
        "push_voip_failed_total",
        (),
        "Pushes for APNs that were not sent, whatever the cause: the sum of push_failures_total.",
    ),
    Family("counter", "push_fcm_sent_total", (), "Pushes that FCM accepted."),
    Family(
        "counter",
        "push_fcm_failed_total",
        (),
        "Pushes for FCM that were not sent, whatever the cause: the sum of push_failures_total.",
    ),
    Family("counter", "push_failures_total", ("handler", "reason"), "Pushes that were not sent, by cause."),
    Family(
        "counter",
        "push_calls_failed_total",
        ("handler",),
        "Of the pushes that were not sent, those for calls: to iPhones (voip) and to Android phones (fcm).",
    ),
    Family(
        "counter",
        "push_expired_total",
        ("handler",),
        "Pushes that were dropped because they came to be too late. They are failures, too.",
    ),
    Family(
        "counter",
        "push_unregistered_total",
        ("handler", "reason"),
        "Pushes to a dead token, by the provider's word. They are not failures.",
    ),
    Family("counter", "push_retries_total", ("handler", "reason"), "Further tries, by why the one before failed."),
    Family("gauge", "push_inflight", ("handler",), "Pushes being worked on."),
    Family(
        "gauge",
        "push_provider_state",
        ("handler",),
        "1 if a push that arrives now can be sent: there are a connection and an access token, the provider answers, "
        "and its last answers were not all faults of its own. Else 0.",
    ),
    Family(
        "gauge",
        "push_credentials_valid",
        ("handler",),
        "1 with a valid access token from a key file that is in order, else 0.",
    ),
    Family(
        "gauge",
        "push_key_file_private",
        ("handler",),
        "1 if nobody but its owner may read the key file, else 0. Absent without a key file.",
    ),
    Family(
        "counter",
        "push_canary_total",
        ("handler", "outcome"),
        "Pushes to the operator's test phones, by their outcome; validated: FCM accepted a dry run. In no other count.",
    ),
    Family("gauge", "push_connection_age_seconds", ("handler",), "Age of the connection to the provider."),
    Family("gauge", "push_token_age_seconds", ("handler",), "Age of the access token."),
    Family("counter", "push_connections_total", ("handler",), "Connections made to the provider."),
    Family(
        "counter",
        "push_connection_failures_total",
        ("handler", "reason"),
        "Connections to the provider that could not be made, by cause.",
    ),
    Family("counter", "push_token_renewals_total", ("handler", "result"), "Access tokens asked for: ok or failed."),
    Family(
        "histogram",
        "push_latency_ms",
        ("handler",),
        "Milliseconds from the request to the provider's final answer.",
    ),
    Family(
        "histogram",
        "push_stage_seconds",
        ("handler", "stage"),
        "Seconds that pushes waited: queue (for a try to begin), token (for an access token), connect (for a free "
        "stream), provider (for the answer). Together they are the time that a push took.",
    ),
)
