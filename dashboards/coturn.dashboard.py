"""Coturn: do calls behind strict NATs find a relay, how much do they carry, and what will run out first."""

from dashboards.limits import THRESHOLDS, above, none_may_be
from dashboards.page import folded, page, row
from dashboards.panels import Query, heatmap, series, stat, states
from dashboards.promql import buckets, rate, rates, unanswered

_QUOTA_USED = (
    'coturn_active_allocations{instance=~"$node"} / ignoring (kind) coturn_quota{kind="limit",instance=~"$node"}'
)
_REFUSALS = THRESHOLDS["CoturnPortsExhausted"]

dashboard = page(
    "coturn",
    about=(
        "coturn tells callers their address (STUN) and relays the calls of those behind strict NATs (TURN), about 20 "
        "to 30 % of all. "
        "Bad is a server that does not answer, or that refuses: 486 means total-quota is reached, 508 that no relay "
        "port is left, many 401 that the shared secret differs from Prosody's. "
        "Bandwidth is what it runs out of first when it is set up well."
    ),
    health=[
        stat(
            "Servers that do not answer",
            "Of the servers Prometheus scrapes, those that do not answer their exporter, or whose exporter is gone.",
            "none",
            unanswered("coturn", "coturn_up"),
            none_may_be("CoturnDown"),
        ),
        stat(
            "Allocations, fullest node",
            "Open relay allocations, about one for each side of a call that needs a relay.",
            "locale",
            'max(coturn_active_allocations{instance=~"$node"})',
            above("CoturnAllocationsHigh"),
        ),
        stat(
            "Quota used, worst node",
            "Allocations that count against total-quota; at 100 % the next call is refused with 486.",
            "percentunit",
            f"max({_QUOTA_USED})",
            above("CoturnQuotaNearlyUsed"),
        ),
        stat(
            "Calls without a relay port",
            f"Allocations refused with 508 in the last {_REFUSALS.window}.",
            "locale",
            f'sum(increase(coturn_allocate_errors_total{{code="508",instance=~"$node"}}[{_REFUSALS.window}]))',
            none_may_be("CoturnPortsExhausted"),
        ),
    ],
    rows=[
        row(
            "Traffic and errors, and how long an answer takes",
            series(
                "Bandwidth",
                "What coturn receives and sends, to clients and to their peers. A call counts up to 4,096 packets "
                "late. Section 13 reckons with 1 Mbps for a call, 1 Gbps for a node.",
                "bps",
                Query(
                    "8 * " + rates("coturn_traffic_bytes_total", "side", "direction"),
                    "{{instance}} {{side}} {{direction}}",
                ),
            ),
            series(
                "Refused allocations by code",
                "401: wrong credentials; 486: total-quota; 508: no relay port. A single 401 is the usual challenge.",
                "suffix:errors/s",
                Query(rates("coturn_allocate_errors_total", "code"), "{{instance}} {{code}}"),
            ),
            series(
                "Answer to the exporter",
                "How long the exporter, as a client, waited for a STUN answer and for a TURN relay.",
                "s",
                Query('coturn_probe_duration_seconds{instance=~"$node"}', "{{instance}} {{probe}} {{transport}}"),
            ),
        ),
        row(
            "How full it is",
            series(
                "Active allocations",
                "Open relay allocations. They stay at a level: the quota (see the share), or calls that do not end.",
                "locale",
                'coturn_active_allocations{instance=~"$node"}',
                limits=above("CoturnAllocationsHigh"),
            ),
            series(
                "Share of the quota in use",
                "Of total-quota, which counts all users together. Without a quota: 0.",
                "percentunit",
                _QUOTA_USED,
                limits=above("CoturnQuotaNearlyUsed"),
                most=1,
            ),
            series(
                "Share of relay ports in use",
                "Of min-port to max-port. At 100 % calls fail with 508.",
                "percentunit",
                'coturn_relay_ports{state="used",instance=~"$node"}'
                ' / ignoring (state) coturn_relay_ports{state="capacity",instance=~"$node"}',
                most=1,
            ),
        ),
        row(
            "STUN against TURN",
            series(
                "Share that needs a relay",
                "Allocations made, of allocations and STUN bindings together. 20 to 30 % is usual; a rise: users whose "
                "network changed, or STUN that fails.",
                "percentunit",
                rates("coturn_allocations_total", where='event="created"')
                + " / ("
                + rates("coturn_allocations_total", where='event="created"')
                + " + "
                + rates("coturn_stun_bindings_total")
                + ")",
                most=1,
                empty="No calls.",
            ),
            series(
                "STUN and TURN requests",
                "Bindings (a client asks for its own address) and allocations (it needs a relay).",
                "suffix:requests/s",
                Query(rates("coturn_stun_bindings_total"), "{{instance}} STUN"),
                Query(rates("coturn_allocations_total", where='event="created"'), "{{instance}} TURN"),
            ),
            states(
                "Exporter gets an answer",
                "Whether the exporter, as a client, got its STUN answer or its TURN relay.",
                Query('coturn_probe_success{instance=~"$node"}', "{{instance}} {{probe}} {{transport}}"),
                good="YES",
                bad="NO",
            ),
        ),
        folded(
            "Which server, and since when",
            states("Server answers", "Whether coturn answers its exporter.", 'coturn_up{instance=~"$node"}'),
            states(
                "Exporter answers",
                "Whether Prometheus can scrape the exporter.",
                'up{job="coturn",instance=~"$node"}',
            ),
            series(
                "Failed probes by reason",
                "credentials: the shared secret differs; quota, ports: coturn is full; timeout: it hangs.",
                "suffix:failures/s",
                Query(
                    'instance_probe_transport_reason:coturn_probe_failures:rate2m{instance=~"$node"}',
                    "{{instance}} {{probe}} {{transport}} {{reason}}",
                ),
                empty="No probe has failed.",
            ),
        ),
        folded(
            "Which calls",
            heatmap(
                "How long allocations lasted",
                "Of allocations that ended, over the chosen nodes. Many short ones: calls that fail, or clients that "
                "retry.",
                "s",
                buckets("coturn_allocation_duration_seconds"),
            ),
            series(
                "Allocations by event",
                "Created, refreshed and deleted. More created than deleted: the number of calls grows.",
                "suffix:/s",
                Query(rates("coturn_allocations_total", "event"), "{{instance}} {{event}}"),
            ),
            series(
                "Allocations by source",
                "As each source of the exporter sees them. A lasting difference: one of them is wrong.",
                "locale",
                Query('coturn_active_allocations_source{instance=~"$node"}', "{{instance}} {{source}}"),
            ),
        ),
        folded(
            "Which resource",
            series(
                "CPU",
                "Cores in use. Relaying costs little; encryption (TLS) more.",
                "suffix:cores",
                rate("coturn_cpu_seconds_total"),
            ),
            series("Memory", "Resident memory of coturn.", "decbytes", 'coturn_memory_used_bytes{instance=~"$node"}'),
            series(
                "Share of file descriptors in use",
                "Of what coturn may open: one for each relay and each TCP client. At 100 % it refuses calls.",
                "percentunit",
                'coturn_open_fds{instance=~"$node"} / coturn_max_fds{instance=~"$node"}',
                most=1,
            ),
        ),
    ],
)
