"""Presence Health: do contacts see who is there, how long do vanished users look online, and why."""

from dashboards.limits import above
from dashboards.page import folded, page, row
from dashboards.panels import heatmap, series
from dashboards.pieces import Look, Query, override
from dashboards.promql import PROSODY, buckets, rates
from dashboards.prosody import event_loop_lag, nodes_down
from dashboards.synthetic import gone_in_time
from dashboards.tables import Column, nodes, table
from dashboards.tiles import figure, stat

_SESSIONS = 'sum by (instance) (prosody_c2s_sessions{instance=~"$node"})'
_HIBERNATED = 'sum by (instance) (prosody_c2s_hibernated_sessions{instance=~"$node"})'
_READ_TIMEOUT = 'prosody_setting{name="read_timeout",instance=~"$node"}'
_ACK_DELAY = 'prosody_setting{name="smacks_max_ack_delay",instance=~"$node"}'
_HIBERNATION = 'prosody_setting{name="smacks_hibernation_time",instance=~"$node"}'

dashboard = page(
    "presence-health",
    about=(
        "Presence tells contacts who is online; a phone that vanishes is dropped after read_timeout, its session "
        "hibernates for a while, and only then it looks offline. "
        "Bad is a phone that looks online long after it is gone (more than 90 s), or many sessions that hibernate at "
        "once: a network, a node or an app release that drops connections. "
        "Hibernated sessions that expire instead of being resumed are users who did not come back."
    ),
    tiles=[
        nodes_down(),
        figure(
            "Presence updates/s",
            "Broadcasts of local users, over the chosen nodes, in two minutes. A wave: connections lost together.",
            "short",
            'sum(rate(prosody_presence_updates_total{instance=~"$node"}[2m]))',
            of=PROSODY,
        ),
        figure(
            "Hibernated sessions",
            "Sessions without a connection that wait to be resumed, over the chosen nodes.",
            "locale",
            'sum(prosody_c2s_hibernated_sessions{instance=~"$node"})',
            of=PROSODY,
        ),
        figure(
            "Dead connections, 10m",
            (
                "Dead connections detected in the last ten minutes, over the chosen nodes: silent ones, and sessions "
                "that were not resumed in time."
            ),
            "locale",
            'sum(increase(prosody_dead_connections_total{instance=~"$node"}[10m]))',
            of=PROSODY,
            outlives=True,
        ),
        stat(
            "Longest read_timeout",
            "How long a silent connection may last before Prosody takes it for dead.",
            "s",
            f"max({_READ_TIMEOUT})",
            above("ProsodyReadTimeoutHigh"),
            of=PROSODY,
        ),
    ],
    nodes=nodes(
        "Nodes",
        "Each node now; settings are coloured by the limits of their alerts.",
        PROSODY,
        {
            "updates/s": Column(rates("prosody_presence_updates_total")),
            "hibernated": Column(_HIBERNATED),
            "dead/s": Column(rates("prosody_dead_connections_total")),
            "timeout": Column(f"max by (instance) ({_READ_TIMEOUT})", "s", limits=above("ProsodyReadTimeoutHigh")),
            "ack delay": Column(f"max by (instance) ({_ACK_DELAY})", "s", limits=above("ProsodyAckDelayHigh")),
            "hibernate": Column(f"max by (instance) ({_HIBERNATION})", "s", limits=above("ProsodyHibernationTimeHigh")),
        },
    ),
    graph=series(
        "Presence updates/s",
        "Broadcasts of local users by type. A wave of unavailable: connections lost together.",
        "short",
        Query(rates("prosody_presence_updates_total", where='type="available"'), "{{instance}} available"),
        Query(
            rates("prosody_presence_updates_total", where='type="unavailable"'), "{{instance}} unavailable", Look.DASHED
        ),
    ),
    exporter="synthetic",
    rows=[
        row(
            "Dead connections, and how long users look online",
            series(
                "Dead connections/s",
                "read_timeout: a silent connection was dropped. hibernation_expired: a session was not resumed in "
                "time, and only now do contacts see the user offline.",
                "short",
                Query(
                    rates("prosody_dead_connections_total", where='cause="read_timeout"'), "{{instance}} read_timeout"
                ),
                Query(
                    rates("prosody_dead_connections_total", where='cause="hibernation_expired"'),
                    "{{instance}} hibernation_expired",
                    Look.DASHED,
                ),
            ),
            series(
                "Time until vanished users look offline",
                "How long a user who vanished looks online: one read_timeout until Prosody sends a ping, one more "
                "until it gives up, then the hibernation. A session with a push registration stays online "
                "longer: until a push has woken the phone.",
                "s",
                f"2 * sum by (instance) ({_READ_TIMEOUT}) + sum by (instance) ({_HIBERNATION})",
                limits=above("PresenceBoundHigh"),
            ),
            series(
                "Hibernated sessions",
                "Sessions without a connection that wait to be resumed. A step on one node: its network or HAProxy.",
                "short",
                _HIBERNATED,
            ),
            series(
                "Sessions by announced presence",
                "What users announced; unavailable: none announced, or withdrawn. On iOS away is an app in the "
                "background.",
                "short",
                Query('instance_show:prosody_presence_sessions:sum{instance=~"$node"}', "{{instance}} {{show}}"),
                stacked=True,
            ),
        ),
        gone_in_time(),
        folded(
            "Do they come back?",
            series(
                "Resumed and expired/s",
                "Sessions that were resumed in time, and those that were not. More expired than resumed: the app does "
                "not resume, or hibernation is too short for the network.",
                "short",
                Query(rates("prosody_mod_smacks__resumption_age_seconds_count"), "{{instance}} resumed"),
                Query(rates("prosody_mod_smacks__sessions_expired_total"), "{{instance}} expired"),
                empty="no session has been resumed or has expired since Prosody started",
            ),
            heatmap(
                "Age of sessions when resumed",
                "How long sessions had waited when their client came back, over the chosen nodes.",
                "s",
                buckets("prosody_mod_smacks__resumption_age_seconds"),
                empty="no session has been resumed since Prosody started",
            ),
            series(
                "Share of sessions that hibernate",
                "Phones come and go: a few per cent is normal. A rise on all nodes: a mobile network or an app "
                "release.",
                "percentunit",
                f"{_HIBERNATED} / on (instance) ({_SESSIONS} > 0)",
                empty="no sessions",
            ),
            series(
                "Updates for each session an hour",
                "Presence updates, shared out over the sessions. A rise without more users: a client in a loop.",
                "short",
                f"3600 * {rates('prosody_presence_updates_total')} / on (instance) ({_SESSIONS} > 0)",
                empty="no sessions",
            ),
        ),
        folded(
            "What presence waits for",
            event_loop_lag(),
            table(
                "Settings in force",
                "Read from the running servers: times in seconds, switches as 0 and 1.",
                {"value": Column('max by (name, instance) (prosody_setting{instance=~"$node"})', "none")},
                first=("name", "instance", "value"),
                names={"instance": "node"},
                overrides=[override("byName", "name", custom__minWidth=230)],  # for the longest
            ),
        ),
    ],
)
