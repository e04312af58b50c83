"""Alerts about Prosody: its load, whether it runs, and the settings that the specification does not leave open."""

from typing import Final

from alerts.catalogue.alert import Alert

_OVERVIEW: Final = "prosody-overview"
_PRESENCE: Final = "presence-health"
_WEBSOCKET: Final = "websocket-health"

# Versions from 13.0.4 on, as Section 20 A demands; PromQL compares no versions.
NEW_ENOUGH: Final = "13[.]0[.]([4-9]|[1-9][0-9]).*|13[.][1-9].*|(1[4-9]|[2-9][0-9])[.].*"

ALERTS: Final = (
    Alert(
        name="ProsodySessionsHigh",
        expr="sum by (job, instance) (prosody_c2s_sessions) > <value>",
        summary='{{ $labels.instance }} holds {{ $value | printf "%.0f" }} sessions (limit <limit>)',
        description=(
            "Users notice nothing yet. Plan another Prosody node now; see whether the other nodes carry as much."
        ),
        dashboard=_OVERVIEW,
    ),
    Alert(
        name="ProsodySessionsCritical",
        expr="sum by (job, instance) (prosody_c2s_sessions) > <value>",
        summary='{{ $labels.instance }} holds {{ $value | printf "%.0f" }} sessions (limit <limit>)',
        description="The node is full: logins become slow, then fail, and memory runs out. Add a Prosody node now.",
        dashboard=_OVERVIEW,
    ),
    Alert(
        name="ProsodySessionsCriticalSoon",
        expr=(
            "instance:prosody_c2s_sessions:forecast > <value>\n"
            "and on (instance) max by (instance) "
            "(count_over_time(prosody_c2s_sessions[<window>] offset <window>)) >= <minimum>"
        ),
        summary=(
            '{{ $labels.instance }} will hold {{ $value | printf "%.0f" }} sessions tomorrow, if they go on growing '
            "(limit <limit>)"
        ),
        description="Users notice nothing yet. See whether users of another node came here; if not, add a node today.",
        dashboard="promises",
    ),
    Alert(
        name="ProsodyMemoryHigh",
        expr="prosody_memory_used_bytes > <value>",
        summary="{{ $labels.instance }}: Prosody uses {{ $value | humanize }}B of memory (limit <limit>)",
        description=(
            "When memory runs out, all sessions of the node drop at once. Look for a leak: compare memory with "
            "sessions."
        ),
        dashboard=_OVERVIEW,
    ),
    Alert(
        name="ProsodyStanzaRateHigh",
        expr="prosody_stanza_rate > <value>",
        summary='{{ $labels.instance }} handles {{ $value | printf "%.0f" }} stanzas/s (limit <limit>)',
        description="Messages of this node begin to lag. Find the kind of stanza that grew, and review performance.",
        dashboard=_OVERVIEW,
    ),
    Alert(
        name="ProsodyDown",
        expr="prosody_up == 0",
        summary="{{ $labels.instance }}: Prosody does not answer its exporter",
        description=(
            "Users of this node are disconnected and reconnect to the others. Look at the service and its log; "
            "restart it."
        ),
        dashboard=_OVERVIEW,
    ),
    Alert(
        # Not failures alone: mistyped passwords and strangers who guess make those at any time.
        name="ProsodyLoginsFail",
        expr=(
            "instance:prosody_logins_failed:ratio > <value>\n"
            "and on (instance) sum by (instance) "
            '(increase(prosody_authentications_total{result!="success"}[<window>])) >= <minimum>'
        ),
        summary="{{ $labels.instance }}: {{ $value | humanizePercentage }} of all logins fail (limit <limit>)",
        description=(
            "Users cannot log in; those who lose their connection stay offline. Check PostgreSQL, then Prosody's log."
        ),
        dashboard=_OVERVIEW,
    ),
    Alert(
        name="ProsodyEventLoopSlow",
        expr="instance:prosody_event_loop_lag_seconds:mean > <value>",
        summary=(
            "{{ $labels.instance }}: Prosody's event loop is {{ $value | humanizeDuration }} late on average "
            "(limit <limit>)"
        ),
        description=(
            "Messages, calls and logins of this node wait for it. Find what blocks it: CPU, a module or the database."
        ),
        dashboard=_OVERVIEW,
    ),
    Alert(
        name="ProsodyProbeFails",
        expr="increase(prosody_websocket_ping_seconds_count[<window>]) == 0 and on (job, instance) prosody_up == 1",
        summary="{{ $labels.instance }}: Prosody runs, but no WebSocket connection to it works",
        description=(
            "Users of this node cannot connect and move to the other nodes. Check mod_websocket, port 5280 and the log."
        ),
        dashboard=_WEBSOCKET,
    ),
    Alert(
        name="ProsodyWebSocketLoginsImpossible",
        expr="prosody_websocket_login_mechanisms == 0",
        summary="{{ $labels.instance }}: nobody can log in to {{ $labels.host }} over WebSocket",
        description="Apps connect and get no way to log in. Set consider_websocket_secure = true, and restart Prosody.",
        dashboard=_WEBSOCKET,
    ),
    Alert(
        name="ProsodyStoresMessages",
        expr='prosody_module_loaded{module=~"mam|muc_mam|offline"} > 0',
        summary=(
            "{{ $labels.instance }}: mod_{{ $labels.module }} is loaded on {{ $labels.host }} and can store messages"
        ),
        description=(
            "The promise that no message stays on the server is broken. Unload the module now, then find out who "
            "loaded it."
        ),
        dashboard=_OVERVIEW,
    ),
    Alert(
        # The module goes on registering when the setting is off again; the setting loads it at the next start. With
        # registration_restricted a stranger can make no account.
        name="ProsodyRegistrationOpen",
        expr=(
            "max by (job, instance) (\n"
            '  prosody_setting{name="allow_registration"}\n'
            '  or prosody_module_loaded{module="register_ibr"}\n'
            ") > 0\n"
            'unless on (job, instance) prosody_setting{name="registration_restricted"} == 1'
        ),
        summary="{{ $labels.instance }}: anyone can register an account",
        description=(
            "Spammers find an open server within days. Set allow_registration = false, reload, and unload register_ibr."
        ),
        dashboard=_OVERVIEW,
    ),
    Alert(
        name="ProsodyEncryptionNotRequired",
        expr='prosody_setting{name=~"c2s_require_encryption|s2s_require_encryption"} == 0',
        summary="{{ $labels.instance }}: {{ $labels.name }} is off",
        description="Passwords and messages may cross the network in the clear. Set it to true, and reload the "
        "configuration and mod_saslauth (s2s: mod_s2s).",
        dashboard=_OVERVIEW,
    ),
    Alert(
        name="ProsodyPushRevealsContent",
        expr='prosody_setting{name=~"push_notification_with_body|push_notification_with_sender"} > 0',
        summary="{{ $labels.instance }}: {{ $labels.name }} is on",
        description="Apple and Google receive the sender or the text of messages. Set it to false, and reload the "
        "configuration and mod_cloud_notify.",
        dashboard=_OVERVIEW,
    ),
    Alert(
        name="ProsodyReadTimeoutHigh",
        expr='prosody_setting{name="read_timeout"} > <value>',
        summary="{{ $labels.instance }}: read_timeout is {{ $value | humanizeDuration }} (limit <limit>)",
        description="Users who are gone look online for too long. Set network_settings.read_timeout to 60 and reload.",
        dashboard=_PRESENCE,
    ),
    Alert(
        name="ProsodyHibernationTimeHigh",
        expr='prosody_setting{name="smacks_hibernation_time"} > <value>',
        summary="{{ $labels.instance }}: smacks_hibernation_time is {{ $value | humanizeDuration }} (limit <limit>)",
        description="Users who are gone look online for too long. Set smacks_hibernation_time to 30, and reload the "
        "configuration and mod_smacks.",
        dashboard=_PRESENCE,
    ),
    Alert(
        name="ProsodyAckDelayHigh",
        expr='prosody_setting{name="smacks_max_ack_delay"} > <value>',
        summary="{{ $labels.instance }}: smacks_max_ack_delay is {{ $value | humanizeDuration }} (limit <limit>)",
        description=(
            "Calls to a phone that vanished ring too late or never. Set smacks_max_ack_delay to 5, reload the "
            "configuration and mod_smacks."
        ),
        dashboard=_PRESENCE,
    ),
    Alert(
        name="ProsodyVersionOld",
        expr=f'prosody_build_info{{version!~"{NEW_ENOUGH}"}} == 1',
        summary="{{ $labels.instance }}: Prosody is {{ $labels.version }}, older than 13.0.4",
        description=(
            "Older versions show users as online who are gone. Debian has 13.0.1: install Prosody's own package."
        ),
        dashboard=_OVERVIEW,
    ),
)
