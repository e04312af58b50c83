"""Recording rules for panels, whose queries would read too many series (bench/panels.py measures it).

They are a group of their own, so that no alert waits for them.
"""

from typing import Final

from alerts.recording import Recording


def _of_build(start: str, build: str) -> str:
    return f"{start} * on (job, instance) group_left (version) {build}"


def _rate(counter: str, where: str) -> str:
    return f"sum by (job, instance) (rate({counter}{f'{{{where}}}' if where else ''}[2m]))"


# The counters of each step, and what to select of them, in the order of a push's way. The bridge counts each push once,
# however often it was repeated, also if the gateway refused or never took it. prosody_push_notifications_total would
# not do: mod_cloud_notify asks several times for one push.
STEPS: Final = {
    "handed on": (
        ("prosody_mod_push_http__handover_seconds_count", ""),
        ("prosody_mod_push_http__refused_total", ""),
        ("prosody_mod_push_http__dropped_total", 'reason="late"'),
    ),
    "received": (("push_requests_total", 'code="200"'),),
    "sent": (("push_voip_sent_total", ""), ("push_fcm_sent_total", "")),
    "woke": (("prosody_push_wakeups_total", 'result="woke"'),),
}

# Most of what these count never happens, and with `> 0` it leaves no series.
PANELS: Final = (
    Recording(
        "instance_handler_reason:push_failures:rate2m",
        "rate(push_failures_total[2m]) > 0",
        "A series for each reason, handler and node.",
    ),
    Recording(
        "instance_handler_reason:push_retries:rate2m",
        "rate(push_retries_total[2m]) > 0",
        "A series for each reason, handler and node.",
    ),
    Recording(
        "instance_code:push_requests:rate2m",
        "rate(push_requests_total[2m]) > 0",
        "A series for each status code and node; most codes are hardly ever answered.",
    ),
    Recording(
        "instance_handler:push_unregistered:rate2m",
        "sum by (job, instance, handler) (rate(push_unregistered_total[2m]))",
        "A series for each reason, handler and node.",
    ),
    Recording(
        "instance_handler_outcome:push_canary:rate2m",
        "rate(push_canary_total[2m]) > 0",
        "A series for each outcome, handler and node; most services have no test phones.",
    ),
    Recording(
        "instance_step:pushes:rate2m",
        "\nor\n".join(
            f'label_replace(\n  {" + ".join(_rate(*counter) for counter in counters)},\n  "step", "{step}", "", ""\n)'
            for step, counters in STEPS.items()
        ),
        "Counters of Prosody's bridge and of the gateway, some with a series for each host, reason and status code.",
    ),
    Recording(
        "instance_kind_result:prosody_push_wakeups:rate2m",
        "sum by (job, instance, kind, result) (rate(prosody_push_wakeups_total[2m]))",
        "A series for each host, kind, result and node.",
    ),
    *(
        Recording(
            f"instance_kind:{histogram}:p99",
            f"histogram_quantile(0.99, sum by (job, instance, kind, le) (rate({histogram}_bucket[5m])))",
            "Every bucket of each host, kind and node. NaN when nothing was pushed.",
        )
        for histogram in ("prosody_mod_push_http__handover_seconds", "prosody_push_wakeup_seconds")
    ),
    Recording(
        "instance_handler_stage:push_stage_seconds:p99",
        "histogram_quantile(0.99, rate(push_stage_seconds_bucket[5m]))",
        "Every bucket of each stage, handler and node. NaN when nothing was pushed.",
    ),
    Recording(
        "instance_handler:push_latency_ms:p50",
        "histogram_quantile(0.5, rate(push_latency_ms_bucket[5m]))",
        "Every bucket of each handler and node. NaN when nothing was pushed.",
    ),
    Recording(
        "instance_handler_le:push_latency_ms_bucket:rate2m",
        "rate(push_latency_ms_bucket[2m])",
        "Every bucket of each handler and node, scraped each 5 s.",
    ),
    Recording(
        "instance_show:prosody_presence_sessions:sum",
        "sum by (job, instance, show) (prosody_presence_sessions)",
        "A series for each host, presence and node.",
    ),
    Recording(
        "instance_code:coturn_allocate_errors:rate2m",
        "rate(coturn_allocate_errors_total[2m]) > 0",
        "A series for each error code and node.",
    ),
    Recording(
        "instance_probe_transport_reason:coturn_probe_failures:rate2m",
        "rate(coturn_probe_failures_total[2m]) > 0",
        "A series for each probe, transport, reason and node.",
    ),
    *(
        Recording(
            f"instance:{histogram}:p{100 * rank:.0f}",
            f"histogram_quantile({rank}, rate({histogram}_bucket[2m]))",
            "Every bucket of each node, on dashboards that are open all day.",
        )
        for histogram in ("prosody_event_loop_lag_seconds", "prosody_websocket_ping_seconds")
        for rank in (0.5, 0.99)
    ),
    Recording(
        "instance_transport_reason:prosody_connection_errors:rate2m",
        "rate(prosody_connection_errors_total[2m]) > 0",
        "A series for each reason and node.",
    ),
    Recording(
        "instance_reason:prosody_exporter_scrape_failures:rate2m",
        "rate(prosody_exporter_scrape_failures_total[2m]) > 0",
        "A series for each reason and node.",
    ),
    Recording(
        "instance_version:start_time_seconds:now",
        "\nor\n".join(
            (
                _of_build("prosody_start_time_seconds", "prosody_build_info"),
                # To a minute: the gateway says how long it has run, and the moment of its answer varies a little.
                _of_build(
                    "round(timestamp(push_gateway_uptime_seconds) - push_gateway_uptime_seconds, 60)",
                    "push_gateway_build_info",
                ),
                _of_build("coturn_start_time_seconds", "coturn_build_info"),
                _of_build("haproxy_process_start_time_seconds", "haproxy_process_build_info"),
                "node_boot_time_seconds",
            )
        ),
        "Every dashboard marks when each program and host started. Each program says when in its own way.",
    ),
)
