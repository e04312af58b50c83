"""Every metric family of the synthetic-user exporter. A journey with one place has it in both `from` and `to`."""

from toolkit.families import Families, Family

_PAIR = ("vantage", "journey", "from", "to")
_RELAY = ("vantage", "to", "transport")

FAMILIES = Families(
    Family(
        "counter",
        "synthetic_journeys_total",
        (*_PAIR, "result"),
        "What test users tried, by what came of it. ok: it happened within its deadline. bounced: a message came back. "
        "suspended: the exporter itself was suspended meanwhile. All results: docs/synthetic.md.",
    ),
    Family(
        "histogram",
        "synthetic_journey_seconds",
        _PAIR,
        "How long a journey took that ended well: message from sending to receipt, login from name to bound resource, "
        "presence until a contact saw it. What failed has no duration and is in synthetic_journeys_total only.",
    ),
    Family(
        "histogram",
        "synthetic_login_stage_seconds",
        ("vantage", "stage"),
        "The stages of a login that went well: name, tcp, tls, upgrade (WebSocket), sasl, bind.",
    ),
    Family(
        "gauge",
        "synthetic_last_success_timestamp_seconds",
        _PAIR,
        "When the journey went well last, in seconds since 1970; no series if it never did since the exporter started.",
    ),
    Family(
        "gauge",
        "synthetic_journey_interval_seconds",
        ("vantage", "journey"),
        "The longest time between two tries of the same journey and places, as configured.",
    ),
    Family(
        "gauge",
        "synthetic_session_up",
        ("vantage", "node", "role"),
        "1 while the test user that stays logged in on this node is; role: sender or receiver.",
    ),
    Family(
        "counter",
        "synthetic_turn_packets_total",
        (*_RELAY, "result"),
        "Packets sent through a relay to its own address and back, by what became of them.",
    ),
    Family(
        "histogram",
        "synthetic_turn_round_trip_seconds",
        _RELAY,
        "How long a packet took through the relay and back: four legs between exporter and coturn.",
    ),
    Family(
        "gauge",
        "synthetic_turn_jitter_seconds",
        _RELAY,
        "Interarrival jitter (RFC 3550) of the last run of packets; no series if fewer than two came back.",
    ),
    Family(
        "gauge",
        "synthetic_turn_credential_lifetime_seconds",
        ("vantage", "from"),
        "For how long the TURN credentials are valid that this Prosody gave last (turn_external_ttl).",
    ),
    Family(
        "gauge",
        "synthetic_foreign_sessions",
        ("vantage",),
        "Sessions of the test accounts that no synthetic-user exporter opened: somebody else has a password. "
        "Only a session that sends presence can be seen.",
    ),
    Family(
        "counter",
        "synthetic_dropped_messages_total",
        ("vantage", "reason"),
        "Messages to test accounts that were ignored. stranger: not one of ours. forged: like one of ours, not signed. "
        "late: after its deadline. misdelivered: to the wrong user.",
    ),
    Family(
        "counter",
        "synthetic_exporter_stalls_total",
        ("vantage",),
        "How often the exporter itself did not run for a second or more; journeys under way then are suspended.",
    ),
)
