"""The metrics each job promises, by name: what the demo looks for in Prometheus. How they are made is not told here."""

PROMISED: dict[str, tuple[str, ...]] = {
    "prosody": (
        "prosody_up",
        "prosody_build_info",
        "prosody_start_time_seconds",
        "prosody_c2s_sessions",
        "prosody_c2s_hibernated_sessions",
        "prosody_presence_sessions",
        "prosody_presence_updates_total",
        "prosody_stanzas_total",
        "prosody_dead_connections_total",
        "prosody_authentications_total",
        "prosody_connection_errors_total",
        "prosody_event_loop_lag_seconds",
        "prosody_websocket_ping_seconds",
        "prosody_memory_used_bytes",
        "prosody_lua_heap_bytes",
        "prosody_cpu_seconds_total",
        "prosody_open_fds",
        "prosody_push_notifications_total",
        "prosody_push_registrations",
        "prosody_module_loaded",
        "prosody_setting",
        "prosody_exporter_scrape_duration_seconds",
        "prosody_exporter_scrape_failures_total",
    ),
}
