"""Presence Health: do contacts see who is there, how long do the dead look alive, and where do updates come from."""

from dashboards.limits import above
from dashboards.page import folded, page, row
from dashboards.panels import Query, heatmap, series, stat, table
from dashboards.promql import buckets, rates
from dashboards.prosody import event_loop_lag, nodes_that_do_not_answer

dashboard = page(
    "presence-health",
    about=(
        "Presence tells contacts who is online; a phone that vanishes is found dead by read_timeout, hibernates for a "
        "while, and only then looks offline. "
        "Bad is a phone that looks online long after it is gone (more than 90 s), or many sessions that hibernate at "
        "once: a network, a node or an app release that drops connections. "
        "Hibernated sessions that expire instead of being resumed are users who did not come back."
    ),
    health=[
        nodes_that_do_not_answer(),
        stat(
            "read_timeout, longest",
            "How long a silent connection may last before Prosody takes it for dead.",
            "s",
            'max(prosody_setting{name="read_timeout",instance=~"$node"})',
            above("ProsodyReadTimeoutHigh"),
        ),
        stat(
            "smacks_hibernation_time, longest",
            "How long a session without a connection waits to be resumed, and looks online meanwhile.",
            "s",
            'max(prosody_setting{name="smacks_hibernation_time",instance=~"$node"})',
            above("ProsodyHibernationTimeHigh"),
        ),
        stat(
            "smacks_max_ack_delay, longest",
            "How long Prosody waits for a phone's acknowledgement before it asks for a push. A call to a phone that "
            "vanished rings a second after that, and is worth 30 s in all.",
            "s",
            'max(prosody_setting{name="smacks_max_ack_delay",instance=~"$node"})',
            above("ProsodyAckDelayHigh"),
        ),
    ],
    rows=[
        row(
            "Updates and the dead, and how long it takes",
            series(
                "Presence updates a second",
                "Broadcasts of local users by type. A wave of unavailable: connections lost together.",
                "suffix:updates/s",
                Query(rates("prosody_presence_updates_total", "type"), "{{instance}} {{type}}"),
            ),
            series(
                "Dead connections detected",
                "read_timeout: a silent connection was dropped. hibernation_expired: a session was not resumed in "
                "time, and only now do contacts see the user offline.",
                "suffix:connections/s",
                Query(rates("prosody_dead_connections_total", "cause"), "{{instance}} {{cause}}"),
            ),
            series(
                "Time until the dead look offline",
                "The longest a user who is gone looks online: one read_timeout until Prosody asks for a sign of life, "
                "one more until it gives up, then the hibernation. Promised: 90 s.",
                "s",
                '2 * sum by (instance) (prosody_setting{name="read_timeout",instance=~"$node"})'
                ' + sum by (instance) (prosody_setting{name="smacks_hibernation_time",instance=~"$node"})',
            ),
        ),
        row(
            "Who waits",
            series(
                "Hibernated sessions",
                "Sessions without a connection that wait to be resumed. A step on one node: its network or HAProxy.",
                "locale",
                'sum by (instance) (prosody_c2s_hibernated_sessions{instance=~"$node"})',
            ),
            series(
                "Share of sessions that hibernate",
                "Phones come and go: a few per cent is daily life. A rise on all nodes: a mobile network or an app "
                "release.",
                "percentunit",
                'sum by (instance) (prosody_c2s_hibernated_sessions{instance=~"$node"})'
                ' / on (instance) (sum by (instance) (prosody_c2s_sessions{instance=~"$node"}) > 0)',
                most=1,
                empty="No sessions.",
            ),
            series(
                "Sessions by announced presence",
                "What users announced; unavailable: none announced, or withdrawn. On iOS away is an app in the "
                "background.",
                "locale",
                Query(
                    'sum by (instance, show) (prosody_presence_sessions{instance=~"$node"})', "{{instance}} {{show}}"
                ),
            ),
        ),
        folded(
            "Do they come back?",
            series(
                "Resumed and expired",
                "Sessions that were resumed in time, and those that were not. More expired than resumed: the app does "
                "not resume, or hibernation is too short for the network.",
                "suffix:sessions/s",
                Query(rates("prosody_mod_smacks__resumption_age_seconds_count"), "{{instance}} resumed"),
                Query(rates("prosody_mod_smacks__sessions_expired_total"), "{{instance}} expired"),
                empty="No session has been resumed, or none has expired, since Prosody started.",
            ),
            heatmap(
                "Age of sessions when resumed",
                "How long sessions had waited when their client came back, over the chosen nodes.",
                "s",
                buckets("prosody_mod_smacks__resumption_age_seconds"),
                empty="No session has been resumed since Prosody started.",
            ),
            series(
                "Updates for each session",
                "Presence updates an hour, shared out over the sessions. A rise without more users: a client in a "
                "loop.",
                "suffix:an hour",
                "3600 * "
                + rates("prosody_presence_updates_total")
                + ' / on (instance) (sum by (instance) (prosody_c2s_sessions{instance=~"$node"}) > 0)',
                empty="No sessions.",
            ),
        ),
        folded(
            "What presence waits for",
            event_loop_lag(),
            table(
                "Settings in force",
                "Read from the running servers: times in seconds, switches as 0 and 1.",
                {"value": Query('prosody_setting{instance=~"$node"}', "{{instance}} {{name}}")},
                first=("name", "instance", "value"),
                hidden=("__name__", "job"),
            ),
            across=2,
        ),
    ],
)
