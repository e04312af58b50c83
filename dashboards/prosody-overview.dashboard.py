"""Prosody Overview: is the messaging service up, how full is it, and which node, host or kind of stanza is why."""

from dashboards.limits import above, none_may_be
from dashboards.page import folded, page, row
from dashboards.panels import Query, heatmap, series, stat, states, table
from dashboards.promql import buckets, rate, rates
from dashboards.prosody import nodes_that_do_not_answer, open_file_descriptors, prosody_answers

dashboard = page(
    "prosody-overview",
    about=(
        "Prosody carries every message, presence and call invitation between the apps, and keeps none of them. "
        "Bad is a node that does not answer, or one so full that all its users wait: it runs on one core, and an event "
        "loop that lags delays every message of the node. "
        "Click a line to see its node alone; the name of a firing alert opens its runbook."
    ),
    health=[
        nodes_that_do_not_answer(),
        stat(
            "Sessions, fullest node",
            "Client sessions with a bound resource on the node that has most of them.",
            "locale",
            'max(sum by (instance) (prosody_c2s_sessions{instance=~"$node"}))',
            above("ProsodySessionsHigh", "ProsodySessionsCritical"),
        ),
        stat(
            "Stanzas/s, busiest node",
            "Stanzas received and sent by the node that handles most of them.",
            "locale",
            'max(prosody_stanza_rate{instance=~"$node"})',
            above("ProsodyStanzaRateHigh"),
        ),
        stat(
            "Memory, largest node",
            "Resident memory of the Prosody that uses most of it.",
            "decbytes",
            'max(prosody_memory_used_bytes{instance=~"$node"})',
            above("ProsodyMemoryHigh"),
        ),
        stat(
            "Unsafe settings",
            "Loaded modules that store messages, open registration, pushes that reveal content, encryption not "
            "required.",
            "none",
            'sum(prosody_module_loaded{module=~"mam|muc_mam|offline|register_ibr",instance=~"$node"})'
            ' + sum(prosody_setting{name=~"allow_registration|push_notification_with_(body|sender)",instance=~"$node"})'
            ' + sum(1 - prosody_setting{name=~"(c2s|s2s)_require_encryption",instance=~"$node"})',
            none_may_be("ProsodyStoresMessages"),
        ),
    ],
    rows=[
        row(
            "Traffic and errors, and how long it takes",
            series(
                "Stanzas a second",
                "Messages, presence and queries, received and sent. A jump on one node alone: one client or a loop.",
                "suffix:stanzas/s",
                'prosody_stanza_rate{instance=~"$node"}',
                limits=above("ProsodyStanzaRateHigh"),
            ),
            series(
                "Errors a second",
                "Logins that failed and connections that Prosody ended with an error. Many failed logins on all nodes: "
                "the database or the token service; on one node: that node.",
                "suffix:errors/s",
                Query(rates("prosody_authentications_total", where='result="failure"'), "{{instance}} logins"),
                Query(rates("prosody_connection_errors_total"), "{{instance}} connections"),
            ),
            series(
                "Share of logins that fail",
                "Of all logins in two minutes. Mistyped passwords are a few in a hundred.",
                "percentunit",
                'instance:prosody_logins_failed:ratio{instance=~"$node"}',
                limits=above("ProsodyLoginsFail"),
                most=1,
            ),
            series(
                "Event loop lag",
                "How late a timer ran inside Prosody: every message waits as long. P99: one look in a hundred was "
                "worse.",
                "s",
                Query('instance:prosody_event_loop_lag_seconds:p99{instance=~"$node"}', "{{instance}} P99"),
                Query('instance:prosody_event_loop_lag_seconds:p50{instance=~"$node"}', "{{instance}} P50"),
            ),
            across=2,
        ),
        row(
            "How full it is",
            series(
                "Sessions",
                "Client sessions, hibernated ones included. Nodes should carry about the same: HAProxy spreads users.",
                "locale",
                'sum by (instance) (prosody_c2s_sessions{instance=~"$node"})',
                limits=above("ProsodySessionsHigh", "ProsodySessionsCritical"),
            ),
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
                "Share of the one core that Prosody can use. At 100 % the event loop lags and nothing helps but a "
                "node.",
                "percentunit",
                rate("prosody_cpu_seconds_total"),
                most=1,
            ),
        ),
        folded(
            "Which node, and since when",
            prosody_answers(),
            states(
                "What answers on the nodes",
                "Whether Prometheus can scrape each service. Everything on a node down: the node or its network.",
                Query('up{instance=~"$node"}', "{{instance}} {{job}}"),
            ),
            table(
                "Versions and starts",
                "What runs where, and since when. A recent start explains sessions and counters that fell.",
                {
                    "started": Query('1000 * max by (instance) (prosody_start_time_seconds{instance=~"$node"})'),
                    "build": Query('group by (instance, version) (prosody_build_info{instance=~"$node"})'),
                },
                units={"started": "dateTimeFromNow"},
                hidden=("build",),
            ),
        ),
        folded(
            "Which traffic",
            series(
                "Stanzas by kind",
                "Presence that grows faster than sessions: clients that reconnect in a loop. Queries: a client's "
                "retry.",
                "suffix:stanzas/s",
                Query(rates("prosody_stanzas_total", "kind", "direction"), "{{instance}} {{kind}} {{direction}}"),
            ),
            series(
                "Logins",
                "Logins by result. A wave of successes after a fall in sessions: users come back from a dead node.",
                "suffix:logins/s",
                Query(rates("prosody_authentications_total", "result"), "{{instance}} {{result}}"),
            ),
            series(
                "Pushes handed on",
                "Notifications that mod_cloud_notify gave to the push gateway, one for each registered device.",
                "suffix:pushes/s",
                Query(rates("prosody_push_notifications_total", "kind"), "{{instance}} {{kind}}"),
            ),
        ),
        folded(
            "Which resource",
            series(
                "Memory per session",
                "Resident memory shared out over the sessions. Section 16 expects about 100 KB; a rising line is a "
                "leak.",
                "decbytes",
                'prosody_memory_used_bytes{instance=~"$node"}'
                ' / on (instance) (sum by (instance) (prosody_c2s_sessions{instance=~"$node"}) > 0)',
                empty="No sessions.",
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
            "Is the watching sound?",
            heatmap(
                "Event loop lag, distribution",
                "How often a timer ran how late, over the chosen nodes.",
                "s",
                buckets("prosody_event_loop_lag_seconds"),
            ),
            series(
                "Time to ask Prosody",
                "How long the exporter took for its last look. It shares Prosody's one core.",
                "s",
                'prosody_exporter_scrape_duration_seconds{instance=~"$node"}',
            ),
            series(
                "Failed looks",
                "Times the exporter could not read Prosody, by reason.",
                "suffix:failures/s",
                Query(
                    'instance_reason:prosody_exporter_scrape_failures:rate2m{instance=~"$node"}',
                    "{{instance}} {{reason}}",
                ),
                empty="No look has failed.",
            ),
        ),
    ],
)
