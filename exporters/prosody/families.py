"""Every metric family of the Prosody exporter that is its own.

`needs` is "instrument" for what instrument.lua counts and "probe" for what the WebSocket probe sees.
"""

from toolkit.families import Families, Family

FAMILIES = Families(
    Family("gauge", "prosody_build_info", ("version",), "Version of the running Prosody; the value is 1."),
    Family("gauge", "prosody_start_time_seconds", (), "When Prosody started, in seconds since 1970."),
    Family(
        "gauge",
        "prosody_c2s_sessions",
        ("host", "transport"),
        "Client sessions with a bound resource, by transport; sessions that hibernate are included.",
        needs="instrument",
    ),
    Family(
        "gauge",
        "prosody_c2s_hibernated_sessions",
        ("host",),
        "Sessions without a connection that wait to be resumed (XEP-0198). Contacts still see these users online.",
        needs="instrument",
    ),
    Family(
        "gauge",
        "prosody_c2s_sessions_without_smacks",
        ("host",),
        "Sessions without stream management (XEP-0198), at the last reconciliation. When such a client vanishes, "
        "Prosody does not notice until TCP gives up.",
        needs="instrument",
    ),
    Family(
        "gauge",
        "prosody_presence_sessions",
        ("host", "show"),
        "Sessions by announced presence; unavailable: none announced, or withdrawn.",
        needs="instrument",
    ),
    Family(
        "counter",
        "prosody_presence_updates_total",
        ("host", "type"),
        "Presence broadcasts of local users; unavailable includes what Prosody sends for a session that ended.",
        needs="instrument",
    ),
    Family(
        "counter",
        "prosody_dead_connections_total",
        ("host", "cause"),
        "Dead clients detected. read_timeout: a silent connection was dropped. hibernation_expired: a session "
        "was not resumed in time, and only now do contacts see the user offline.",
        needs="instrument",
    ),
    Family(
        "counter",
        "prosody_authentications_total",
        ("host", "result"),
        "Logins by result: success, failure.",
        needs="instrument",
    ),
    Family(
        "counter",
        "prosody_stanzas_total",
        ("direction", "kind"),
        "Stanzas on the streams of clients and servers; in: received, out: written. A message from one user to "
        "another is both.",
        needs="instrument",
    ),
    Family(
        "counter",
        "prosody_connection_errors_total",
        ("transport", "reason"),
        "Connections that failed. Reasons of RFC 6120 (policy-violation, ...): Prosody closed a client's "
        "stream with this error. probe_*: the exporter's own WebSocket connection failed.",
        needs="instrument or probe",
    ),
    Family(
        "counter",
        "prosody_push_notifications_total",
        ("host", "kind"),
        "Push notifications that mod_cloud_notify handed on and no filter stopped, one per registration. "
        "call: a jingle propose. other: typing, receipts and the like, which wake no phone and are not sent.",
        needs="instrument",
    ),
    Family(
        "gauge",
        "prosody_push_registrations",
        ("host",),
        "Devices registered for push, of all users who logged in or were pushed to since Prosody started.",
        needs="instrument",
    ),
    Family(
        "counter",
        "prosody_push_wakeups_total",
        ("host", "kind", "result"),
        "Pushes that a provider took, by what followed. woke: the phone came back within 30 s of a call, 60 s of a "
        "message. silent: it did not. superseded: another push to the same token came first.",
        needs="instrument",
    ),
    Family(
        "histogram",
        "prosody_push_wakeup_seconds",
        ("host", "kind"),
        "From Prosody's push to the phone's login or resumption, of the phones that came back.",
        needs="instrument",
    ),
    Family(
        "counter",
        "prosody_canary_logins_total",
        ("host", "handler"),
        "Logins and resumptions of the operator's test phones, which the push gateway wakes: accounts "
        "synthetic-canary-voip and synthetic-canary-fcm.",
        needs="instrument",
    ),
    Family(
        "histogram",
        "prosody_event_loop_lag_seconds",
        (),
        "How late a timer ran inside Prosody, ten looks a second. Every message waits as long.",
        needs="instrument",
    ),
    Family(
        "histogram",
        "prosody_websocket_ping_seconds",
        (),
        "Round trip of a ping on a WebSocket connection that the exporter holds open, as a client sees it.",
        needs="probe",
    ),
    Family(
        "gauge",
        "prosody_websocket_login_mechanisms",
        ("host",),
        "SASL mechanisms offered to a client that opens a stream over WebSocket, at the last look; with 0 nobody can "
        "log in.",
        needs="probe",
    ),
    Family("counter", "prosody_cpu_seconds_total", (), "CPU time of the server; one core is all it can use."),
    Family("gauge", "prosody_memory_used_bytes", (), "Resident memory of the server process."),
    Family("gauge", "prosody_lua_heap_bytes", (), "Memory that Lua's garbage collector manages."),
    Family("gauge", "prosody_open_fds", (), "Open file descriptors; each connection takes one."),
    Family(
        "gauge",
        "prosody_module_loaded",
        ("host", "module"),
        "1 for a loaded module; 0 for one that the specification names and that is not loaded. Host * "
        "holds global modules.",
    ),
    Family(
        "gauge",
        "prosody_setting",
        ("name", "host"),
        "Settings in force: seconds, a count, or 0 and 1. Where hosts differ it is the worst value, and host has it; "
        "host * is the whole server.",
    ),
    Family(
        "gauge",
        "prosody_authentication_info",
        ("host", "provider"),
        "Where the passwords of a host are checked (internal_hashed, ...); the value is 1.",
    ),
    Family(
        "gauge",
        "prosody_exporter_instrument_version",
        (),
        "Version of the counting script inside Prosody.",
        needs="instrument",
    ),
    Family(
        "gauge",
        "prosody_exporter_sessions_settled",
        (),
        "1 once all sessions older than the counting script are counted; before, session gauges are too low.",
        needs="instrument",
    ),
    Family(
        "counter",
        "prosody_exporter_sessions_adopted_total",
        (),
        "Sessions that were there before the counting script and were counted afterwards.",
        needs="instrument",
    ),
    Family(
        "counter",
        "prosody_exporter_session_drift_total",
        (),
        "Sessions that a reconciliation found counted wrongly, and corrected. Should stay 0.",
        needs="instrument",
    ),
    Family(
        "counter",
        "prosody_exporter_reconciliations_total",
        (),
        "Passes over all sessions, in slices.",
        needs="instrument",
    ),
    Family(
        "counter",
        "prosody_exporter_instrument_errors_total",
        (),
        "Errors caught inside the counting script; each is an event not counted.",
        needs="instrument",
    ),
    Family(
        "gauge",
        "prosody_exporter_registry_families_left_out",
        (),
        "Families of Prosody's own registry that could not be passed through.",
    ),
)
