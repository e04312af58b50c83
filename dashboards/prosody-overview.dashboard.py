"""Prosody Overview: is the messaging service up, how full is it, and which node, host or kind of stanza is why."""

from dashboards.limits import above, none_may_be, threshold
from dashboards.page import folded, page, row
from dashboards.panels import heatmap, series, states
from dashboards.pieces import CALM, WARNING, Look, Query
from dashboards.promql import PROSODY, buckets, judged, rate, rates
from dashboards.prosody import event_loop_lag, nodes_down, open_file_descriptors, prosody_answers
from dashboards.synthetic import messages_and_logins
from dashboards.tables import Column, nodes, table
from dashboards.tiles import stat

_SESSIONS = 'sum by (instance) (prosody_c2s_sessions{instance=~"$node"})'
_UNSAFE_MODULES = 'prosody_module_loaded{module=~"mam|muc_mam|offline",instance=~"$node"}'
_UNSAFE_SETTINGS = 'prosody_setting{name=~"push_notification_with_(body|sender)",instance=~"$node"}'
_REGISTRATION = (
    'max by (instance) (prosody_setting{name="allow_registration",instance=~"$node"}'
    ' or prosody_module_loaded{module="register_ibr",instance=~"$node"})'
)
_RESTRICTED = 'prosody_setting{name="registration_restricted",instance=~"$node"} == 1'
_SAFE_SETTINGS = 'prosody_setting{name=~"(c2s|s2s)_require_encryption",instance=~"$node"}'
_LOGINS_FAIL = threshold("ProsodyLoginsFail")
_BAD_LOGINS = judged(
    'max by (instance) (instance:prosody_logins_failed:ratio{instance=~"$node"})',
    _LOGINS_FAIL,
    'sum by (instance) (increase(prosody_authentications_total{result!="success",instance=~"$node"}'
    f"[{_LOGINS_FAIL.window}]))",
)

users_get, test_users = messages_and_logins()
dashboard = page(
    "prosody-overview",
    about=(
        "Prosody carries every message, presence and call invitation between the apps, and keeps none of them. "
        "Bad is a node that does not answer, or one so full that all its users wait: it runs on one core, and an event "
        "loop that lags delays every message of the node. "
        "A click on a line or on a node's name shows that node alone; the name of a firing alert opens its runbook."
    ),
    tiles=[
        nodes_down(),
        stat(
            "Sessions, fullest node",
            "Client sessions with a bound resource on the node that has most of them.",
            "locale",
            f"max({_SESSIONS})",
            above("ProsodySessionsHigh", "ProsodySessionsCritical"),
            of=PROSODY,
        ),
        stat(
            "Stanzas/s, busiest node",
            "Stanzas received and sent by the node that handles most of them.",
            "locale",
            'max(prosody_stanza_rate{instance=~"$node"})',
            above("ProsodyStanzaRateHigh"),
            of=PROSODY,
        ),
        stat(
            "Memory, largest node",
            "Resident memory of the Prosody that uses most of it.",
            "decbytes",
            'max(prosody_memory_used_bytes{instance=~"$node"})',
            above("ProsodyMemoryHigh"),
            of=PROSODY,
            outlives=True,
        ),
        stat(
            "Unsafe settings",
            "Loaded modules that store messages, pushes that reveal content, encryption not required.",
            "none",
            f"sum({_UNSAFE_MODULES}) + sum({_UNSAFE_SETTINGS}) + sum(1 - {_SAFE_SETTINGS})",
            none_may_be("ProsodyStoresMessages"),
            of=PROSODY,
        ),
    ],
    nodes=nodes(
        "Nodes",
        "Each node now, coloured by the limits of its alerts. Memory, CPU: of the process, also while it hangs; lag: "
        "of the event loop, on average; bad logins: of all "
        f"in two minutes, a dash also where they are too few for an alert ({_LOGINS_FAIL.minimum:g}).",
        PROSODY,
        {
            "sessions": Column(_SESSIONS, limits=above("ProsodySessionsHigh", "ProsodySessionsCritical")),
            "stanzas/s": Column(
                'max by (instance) (prosody_stanza_rate{instance=~"$node"})', limits=above("ProsodyStanzaRateHigh")
            ),
            "memory": Column(
                'max by (instance) (prosody_memory_used_bytes{instance=~"$node"})',
                "decbytes",
                limits=above("ProsodyMemoryHigh"),
                outlives=True,
            ),
            "CPU": Column(f"max by (instance) ({rate('prosody_cpu_seconds_total')})", "percentunit", outlives=True),
            "lag": Column(
                'max by (instance) (instance:prosody_event_loop_lag_seconds:mean{instance=~"$node"})',
                "s",
                limits=above("ProsodyEventLoopSlow"),
            ),
            "bad logins": Column(_BAD_LOGINS, "percentunit", limits=above("ProsodyLoginsFail")),
        },
    ),
    graph=series(
        "Sessions",
        "Client sessions, hibernated ones included. Nodes should carry about the same: HAProxy spreads users.",
        "short",
        _SESSIONS,
        limits=above("ProsodySessionsHigh", "ProsodySessionsCritical"),
    ),
    exporter="synthetic",
    rows=[
        row(
            "Traffic and errors, and how long it takes",
            series(
                "Stanzas/s",
                "Messages, presence and queries, received and sent. A jump on one node alone: one client or a loop.",
                "short",
                'prosody_stanza_rate{instance=~"$node"}',
                limits=above("ProsodyStanzaRateHigh"),
            ),
            event_loop_lag(),
            series(
                "Errors/s",
                "Logins that failed and connections that Prosody ended with an error. Many failed logins on all nodes: "
                "the database or the token service; on one node: that node.",
                "short",
                Query(
                    rates("prosody_authentications_total", where='result="failure"'),
                    "{{instance}} failed logins",
                    Look.FAILURE,
                ),
                Query(rates("prosody_connection_errors_total"), "{{instance}} connections", Look.DASHED),
            ),
            series(
                "Share of logins that fail",
                "Of all logins in two minutes. Mistyped passwords cause a few per cent.",
                "percentunit",
                'instance:prosody_logins_failed:ratio{instance=~"$node"}',
                limits=above("ProsodyLoginsFail"),
            ),
            series(
                "Logins/s",
                "Logins by result. A wave of successes after a fall in sessions: users come back from a dead node.",
                "short",
                Query(rates("prosody_authentications_total", where='result="success"'), "{{instance}} success"),
                Query(
                    rates("prosody_authentications_total", where='result="failure"'),
                    "{{instance}} failure",
                    Look.FAILURE,
                ),
            ),
        ),
        row(
            "How full it is",
            series(
                "Memory",
                "Resident memory of Prosody. Growth while sessions do not grow is a leak: see memory per session "
                "below.",
                "decbytes",
                'prosody_memory_used_bytes{instance=~"$node"}',
                limits=above("ProsodyMemoryHigh"),
            ),
            series(
                "CPU",
                (
                    "Share of the one core that Prosody can use. At 100 % the event loop lags, and only another node "
                    "helps."
                ),
                "percentunit",
                rate("prosody_cpu_seconds_total"),
            ),
        ),
        users_get,
        folded(
            "Which node, and since when",
            prosody_answers(),
            states(
                "Targets that answer",
                "Whether Prometheus can scrape each target. If all of a node are down, it is the node or its network.",
                'up{instance=~"$node"}',
                legend="{{instance}} {{job}}",
            ),
            table(
                "Versions and starts",
                "What runs where, and since when. A recent start explains sessions and counters that fell. "
                "Registration: whether anyone can register an account.",
                {
                    "started": Column(
                        '1000 * max by (instance) (prosody_start_time_seconds{instance=~"$node"})'
                        f" or on (instance) NaN * max by (instance) ({PROSODY.scraped})",
                        "dateTimeFromNow",
                    ),
                    "registration": Column(
                        f"({_REGISTRATION} unless on (instance) {_RESTRICTED}) or 0 * {_REGISTRATION}",
                        "none",
                        words={"0": ("closed", CALM), "1": ("OPEN", WARNING)},
                    ),
                    "build": Column('group by (instance, version) (prosody_build_info{instance=~"$node"})'),
                },
                first=("instance",),
                hidden=("build",),
                names={"instance": "node"},
            ),
        ),
        folded(
            "Which traffic",
            series(
                "Stanzas/s by kind",
                "Received above zero, sent below. Presence that grows faster than sessions: clients that reconnect in "
                "a loop. Queries: a client's retry.",
                "short",
                Query(rates("prosody_stanzas_total", "kind", where='direction="in"'), "{{instance}} {{kind}} received"),
                Query(
                    rates("prosody_stanzas_total", "kind", where='direction="out"'),
                    "{{instance}} {{kind}} sent",
                    Look.BELOW,
                ),
            ),
            series(
                "Pushes asked for/s",
                "Notifications that mod_cloud_notify asked for, one for each registered device, and several times for "
                "one push. Push Gateway Health has what was handed on.",
                "short",
                Query(rates("prosody_push_notifications_total", "kind"), "{{instance}} {{kind}}"),
                stacked=True,
            ),
        ),
        folded(
            "Which resource",
            series(
                "Memory per session",
                "Resident memory divided by the number of sessions. Section 16 expects about 100 KB; a rising line is "
                "a "
                "leak.",
                "decbytes",
                'prosody_memory_used_bytes{instance=~"$node"}'
                ' / on (instance) (sum by (instance) (prosody_c2s_sessions{instance=~"$node"}) > 0)',
                empty="no sessions",
            ),
            series(
                "Lua heap",
                "What Lua's garbage collector manages. Flat under growing resident memory: fragments, not a leak in "
                "Lua.",
                "decbytes",
                'prosody_lua_heap_bytes{instance=~"$node"}',
            ),
            open_file_descriptors(),
        ),
        folded(
            "Is the exporter working?",
            heatmap(
                "Event loop lag, distribution",
                "How late timers ran, and how often, over the chosen nodes.",
                "s",
                buckets("prosody_event_loop_lag_seconds"),
            ),
            series(
                "Time to read Prosody",
                "How long the exporter took for its last read. It shares Prosody's one core.",
                "s",
                'prosody_exporter_scrape_duration_seconds{instance=~"$node"}',
            ),
            series(
                "Failed reads/s",
                "Times the exporter could not read Prosody, by reason.",
                "short",
                Query(
                    'instance_reason:prosody_exporter_scrape_failures:rate2m{instance=~"$node"}',
                    "{{instance}} {{reason}}",
                ),
                empty="no read has failed",
            ),
        ),
        test_users,
    ],
)
