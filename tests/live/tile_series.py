"""Series of a service of which one part does not answer."""

# For each job, what there is when one of two does not answer. Numbers of the one that answers may be good.
PARTLY_DOWN: dict[str, dict[str, str]] = {
    "prosody": {
        'up{job="prosody",instance="prosody1"}': "1x8",
        'up{job="prosody",instance="prosody2"}': "1x8",
        'prosody_up{job="prosody",instance="prosody1"}': "1x8",
        'prosody_up{job="prosody",instance="prosody2"}': "0x8",
        'prosody_stanza_rate{job="prosody",instance="prosody1"}': "40x8",
        'prosody_presence_updates_total{job="prosody",instance="prosody1",type="available"}': "0+30x8",
        'instance:prosody_websocket_ping_seconds:p99{job="prosody",instance="prosody1"}': "0.001x8",
        'prosody_websocket_ping_seconds_count{job="prosody",instance="prosody1"}': "0+3x8",
        'prosody_websocket_login_mechanisms{job="prosody",instance="prosody1",host="a"}': "2x8",
        'instance_kind:prosody_pushes_silent:ratio{job="prosody",instance="prosody1",kind="call"}': "0x8",
        'prosody_c2s_sessions{job="prosody",instance="prosody1",transport="websocket"}': "9x8",
        'prosody_c2s_hibernated_sessions{job="prosody",instance="prosody1"}': "2x8",
        'prosody_dead_connections_total{job="prosody",instance="prosody1",cause="read_timeout"}': "7x8",
        'prosody_memory_used_bytes{job="prosody",instance="prosody1"}': "9000000x8",
        'prosody_module_loaded{job="prosody",instance="prosody1",host="a",module="mam"}': "0x8",
        'prosody_setting{job="prosody",instance="prosody1",name="push_notification_with_body"}': "0x8",
        'prosody_setting{job="prosody",instance="prosody1",name="c2s_require_encryption"}': "1x8",
        'prosody_setting{job="prosody",instance="prosody1",name="read_timeout"}': "60x8",
        "slo:connections:ratio": "0.1x8",
    },
    "push-gateway": {
        'up{job="push-gateway",instance="prosody1"}': "1x8",
        'up{job="push-gateway",instance="prosody2"}': "0x8",
        'push_gateway_up{job="push-gateway",instance="prosody1"}': "1x8",
        'push_gateway_up{job="push-gateway",instance="prosody2"}': "0x8",
        'instance:push_voip_failed:ratio{job="push-gateway",instance="prosody1"}': "0x8",
        'instance:push_voip_failed:ratio{job="push-gateway",instance="prosody2"}': "0x8",
        'instance:push_fcm_failed:ratio{job="push-gateway",instance="prosody1"}': "0x8",
        'push_gateway_uptime_seconds{job="push-gateway",instance="prosody1"}': "100+15x8",
        'push_provider_state{job="push-gateway",instance="prosody1",handler="voip"}': "1x8",
        'push_gateway_memory_bytes{job="push-gateway",instance="prosody1"}': "9x8",
        'push_calls_failed_total{job="push-gateway",instance="prosody1",handler="voip"}': "0x8",
        'instance_handler:push_latency_ms:p99{job="push-gateway",instance="prosody1",handler="voip"}': "80x8",
    },
    "postgresql": {
        'up{job="postgresql",instance="postgres1"}': "1x8",
        'up{job="postgresql",instance="postgres2"}': "0x8",  # its exporter is gone: there is no pg_up of it
        'pg_up{job="postgresql",instance="postgres1"}': "1x8",
        'pg_replication_lag_bytes{job="postgresql",instance="postgres1"}': "0x8",
        'pg_stat_database_xact_commit{job="postgresql",instance="postgres1",datname="commeazy"}': "0+30x8",
        'pg_stat_database_xact_rollback{job="postgresql",instance="postgres1",datname="commeazy"}': "7x8",
        'pg_stat_activity_count{job="postgresql",instance="postgres1",datname="commeazy",state="idle"}': "9x8",
        'pg_settings_max_connections{job="postgresql",instance="postgres1"}': "100x8",
    },
    "coturn": {
        'up{job="coturn",instance="coturn1"}': "1x8",
        'up{job="coturn",instance="coturn2"}': "1x8",
        'coturn_up{job="coturn",instance="coturn1"}': "1x8",
        'coturn_up{job="coturn",instance="coturn2"}': "0x8",
        'coturn_active_allocations{job="coturn",instance="coturn1"}': "3x8",
        'coturn_quota{job="coturn",instance="coturn1",kind="limit"}': "100x8",
        'coturn_allocate_errors_total{job="coturn",instance="coturn1",code="508"}': "7x8",
        'coturn_traffic_bytes_total{job="coturn",instance="coturn1",side="client",direction="received"}': "0+900x8",
    },
    "node": {
        'up{job="node",instance="db1"}': "1x8",
        'up{job="node",instance="db2"}': "0x8",
        'instance_mountpoint:node_filesystem_free:ratio{job="node",instance="db1",mountpoint="/"}': "0.9x8",
        'node_memory_MemAvailable_bytes{job="node",instance="db1"}': "9x8",
        'node_memory_MemTotal_bytes{job="node",instance="db1"}': "10x8",
        'instance:node_cpu_used:ratio{job="node",instance="db1"}': "0.1x8",
        'node_systemd_unit_state{job="node",instance="db1",name="a.service",state="failed"}': "0x8",
    },
    "haproxy": {
        'up{job="haproxy",instance="haproxy1"}': "1x8",
        'up{job="haproxy",instance="haproxy2"}': "0x8",
        'haproxy_backend_up{job="haproxy",instance="haproxy1"}': "3x8",
        'haproxy_frontend_http_requests_total{job="haproxy",instance="haproxy1",proxy="users"}': "0+30x8",
        'instance:haproxy_errors:ratio{job="haproxy",instance="haproxy1"}': "0x8",
        'haproxy_process_current_connections{job="haproxy",instance="haproxy1"}': "9x8",
        'haproxy_process_max_connections{job="haproxy",instance="haproxy1"}': "100x8",
    },
    "certificates": {
        'up{job="certificates",instance="m"}': "1x8",
        'ssl_certificate_probe_success{job="certificates",instance="m",target="wss"}': "1x8",
        'ssl_certificate_probe_success{job="certificates",instance="m",target="turn"}': "0x8",
        'ssl_certificate_trusted{job="certificates",instance="m",target="wss"}': "1x8",
        'ssl_certificate_expiry_days{job="certificates",instance="m",target="wss"}': "80x8",
    },
    "synthetic": {
        'up{job="synthetic",instance="m1"}': "1x8",
        'up{job="synthetic",instance="m2"}': "0x8",
        'slo:coverage:ratio{sloth_slo="login"}': "1x8",
        'slo:period_error_budget_remaining:ratio{sloth_slo="login"}': "1x8",
        'slo:verdict:bool{sloth_slo="login"}': "1x8",
        'slo:error_budget:ratio{sloth_slo="login"}': "0.01x8",
        'slo:bad_events:increase30m{sloth_slo="login"}': "0x8",
        'slo:bad_events:minimum{sloth_slo="login"}': "3x8",
        'sloth_slo_info{sloth_slo="login",severity="critical"}': "1x8",
        **{f'slo:sli_error:ratio_rate{window}{{sloth_slo="login"}}': "0x8" for window in ("5m", "30m", "1h", "6h")},
    },
}
# One of two exporters is gone, and all that the other one looks at is in order.
EXPORTER_GONE = {name: "1x8" if values == "0x8" else values for name, values in PARTLY_DOWN["certificates"].items()} | {
    'up{job="certificates",instance="m2"}': "0x8"
}


def last_words(series: dict[str, str], node: str) -> dict[str, str]:
    """Return what is still known of a node that has just ended: rates and averages of the minutes before."""
    return {
        name.replace(f'instance="{other}"', f'instance="{node}"'): values
        for name, values in series.items()
        for other in [name.split('instance="')[1].split('"')[0]]
        if other != node
        and not name.startswith(("up{", "prosody_up{", "pg_up{", "coturn_up{", "push_gateway_up{"))
        and name.replace(f'instance="{other}"', f'instance="{node}"') not in series
    }
