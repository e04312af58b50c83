"""Alerts about the monitoring itself: what is down, what is missing, and the one that always fires."""

from dataclasses import dataclass
from typing import Final

from alerts.catalogue.alert import Alert
from alerts.jobs import JOBS

_OVERVIEW: Final = "prosody-overview"
_PRESENCE: Final = "presence-health"
# The push gateway has an alert of its own (PushGatewayDown).
_SERVING: Final = tuple(sorted(job.name for job in JOBS.values() if job.serving))


@dataclass(frozen=True)
class Watched:
    """A series that alerts stand on, and the series that says its target answers, so that it must be there."""

    series: str
    answers: str
    by: str
    dashboard: str
    variable: str | None

    @property
    def alert(self) -> Alert:
        """The alert for this series' absence from a target that answers."""
        who = "{{ $labels.job }}" if self.by == "job" else "{{ $labels.instance }}"
        return Alert(
            name="MetricAbsent",
            # Not absent(): that is blind to one node of three. What does not answer at all is another alert's business.
            expr=f"{self.answers} unless on ({self.by}) {self.series}",
            summary=f"{who} answers, but without {self.series}",
            description="The alerts on this metric cannot fire. The runbook lists the usual causes.",
            dashboard=self.dashboard,
            variable=self.variable,
            labels={"metric": self.series},
        )


def _of(
    answers: str, dashboard: str, *series: str, by: str = "instance", variable: str | None = "node"
) -> tuple[Watched, ...]:
    return tuple(Watched(name, answers, by, dashboard, variable) for name in series)


WATCHED: Final = (
    *_of('up{job="prosody"} == 1', _OVERVIEW, "prosody_up"),
    *_of(
        "prosody_up == 1",
        _OVERVIEW,
        "prosody_c2s_sessions",
        "prosody_memory_used_bytes",
        "prosody_stanza_rate",
        "prosody_authentications_total",
        "prosody_module_loaded",
        "instance:prosody_event_loop_lag_seconds:mean",
        'prosody_setting{name="registration_restricted"}',
        'prosody_setting{name="allow_registration"}',
        'prosody_setting{name="c2s_require_encryption"}',
        'prosody_setting{name="s2s_require_encryption"}',
        'prosody_setting{name="push_notification_with_body"}',
        'prosody_setting{name="push_notification_with_sender"}',
    ),
    *_of(
        "prosody_up == 1",
        _PRESENCE,
        'prosody_setting{name="read_timeout"}',
        'prosody_setting{name="smacks_hibernation_time"}',
        'prosody_setting{name="smacks_max_ack_delay"}',
    ),
    # The exporter looks for logins after its first ping, and not at all when its WebSocket probe is switched off.
    *_of(
        "prosody_up == 1 and on (instance) prosody_websocket_ping_seconds_count > 0",
        "websocket-health",
        "prosody_websocket_login_mechanisms",
    ),
    # Recorded from `up`, so only a recording rule that is not loaded takes it away.
    *_of("push_gateway_uptime_seconds", JOBS["push-gateway"].dashboard, "push_gateway_up"),
    *_of(
        'up{job="push-gateway"} == 1',
        JOBS["push-gateway"].dashboard,
        "push_gateway_uptime_seconds",
        "push_gateway_memory_bytes",
        "push_voip_failed_total",
        "push_fcm_failed_total",
        "push_calls_failed_total",
        "push_latency_ms_count",
        "push_credentials_valid",
        "push_provider_state",
        "push_requests_total",
    ),
    *_of('up{job="haproxy"} == 1', JOBS["haproxy"].dashboard, "haproxy_backend_up"),
    *_of('up{job="postgresql"} == 1', JOBS["postgresql"].dashboard, "pg_up"),
    *_of(
        "pg_up == 1",
        JOBS["postgresql"].dashboard,
        "pg_settings_in_hot_standby",
        "pg_settings_default_transaction_read_only",
    ),
    # Only the primary measures it, and which server that is changes.
    *_of("group by (job) (pg_up == 1)", JOBS["postgresql"].dashboard, "pg_replication_lag_bytes", by="job"),
    *_of('up{job="coturn"} == 1', JOBS["coturn"].dashboard, "coturn_up"),
    *_of(
        "coturn_up == 1",
        JOBS["coturn"].dashboard,
        "coturn_active_allocations",
        'coturn_quota{kind="limit"}',
        'coturn_allocate_errors_total{code="508"}',
    ),
    *_of(
        'up{job="certificates"} == 1',
        JOBS["certificates"].dashboard,
        "ssl_certificate_probe_success",
        "ssl_certificate_trusted",
        "ssl_certificate_served_matches_file",
        "certificate_exporter_config_last_reload_successful",
        variable="exporter",
    ),
    *_of(
        "ssl_certificate_probe_success == 1",
        JOBS["certificates"].dashboard,
        "ssl_certificate_expiry_days",
        "ssl_certificate_lifetime_days",
        by="instance, target",
        variable="exporter",
    ),
    *_of(
        'up{job="prometheus"} == 1',
        JOBS["prometheus"].dashboard,
        "prometheus_config_last_reload_successful",
        "prometheus_notifications_dropped_total",
        "prometheus_rule_evaluation_failures_total",
        "prometheus_sd_file_read_errors_total",
        "prometheus_target_scrape_pool_targets",
        variable=None,
    ),
    *_of(
        'up{job="alertmanager"} == 1',
        JOBS["alertmanager"].dashboard,
        "alertmanager_config_last_reload_successful",
        "alertmanager_notifications_failed_total",
        variable=None,
    ),
    *_of(
        'up{job="node"} == 1',
        JOBS["node"].dashboard,
        "instance_mountpoint:node_filesystem_free:ratio",
        "node_memory_MemAvailable_bytes",
        "instance:node_cpu_used:ratio",
        "node_time_seconds",
        "node_network_transmit_bytes_total",
    ),
    # Whichever host it is that makes them.
    *_of(
        'group by (job) (up{job="node"} == 1)',
        JOBS["node"].dashboard,
        'instance_kind:backup_age_days:now{kind="base"}',
        'instance_kind:backup_age_days:now{kind="restore_test"}',
        by="job",
    ),
    *_of('up{job="synthetic"} == 1', _OVERVIEW, "synthetic_journeys_total", variable="exporter"),
)

ALERTS: Final = (
    Alert(
        name="Watchdog",
        expr="vector(1)",
        summary="Alerts reach their receiver",
        description="This alert always fires. The receiver raises the alarm when it stops arriving.",
        dashboard=_OVERVIEW,
    ),
    Alert(
        name="NodeDown",
        expr="max by (instance) (up) == 0 and count by (instance) (up) > 1",
        summary="{{ $labels.instance }}: nothing on the node answers",
        description=(
            "Users of this node reconnect to the others; pushes from it have stopped. See whether the machine and its "
            "network run."
        ),
        dashboard=_OVERVIEW,
    ),
    *(
        Alert(
            name="TargetDown",
            expr=f'up{{job="{job}"}} == 0',
            summary="{{ $labels.instance }}: the {{ $labels.job }} target does not answer",
            description=(
                "The service may be down, too; if not, nothing monitors it. See whether the service runs, then its "
                "exporter."
            ),
            dashboard=JOBS[job].dashboard,
            labels={"job": job},  # what `up` says too; here it tells promtool that these are no duplicates
        )
        for job in _SERVING
    ),
    Alert(
        name="MonitoringTargetDown",
        expr=f'up{{job!~"{"|".join(_SERVING)}|push-gateway"}} == 0',
        summary="{{ $labels.instance }}: the {{ $labels.job }} target does not answer",
        description="Users notice nothing; its alerts cannot fire. Look at the service and its log.",
        dashboard=_OVERVIEW,
        variable=None,  # it lists Prosody's nodes
    ),
    *(
        Alert(
            name="JobMissing",
            expr=f'absent(up{{job="{job}"}})',
            summary="No target of job {{ $labels.job }} is scraped",
            description=(
                "None of the job's alerts can fire. See whether its file in targets/ is there and is valid YAML."
            ),
            dashboard=JOBS[job].dashboard,
            labels={"job": job},  # what absent() says too; here it tells promtool that these are no duplicates
        )
        for job in sorted(JOBS)
    ),
    Alert(
        name="AlertmanagerNotificationsFailing",
        expr=(
            "sum by (job, instance, integration) "
            "(increase(alertmanager_notifications_failed_total[<window>])) >= <value>"
        ),
        summary=(
            '{{ $labels.instance }}: {{ $value | printf "%.0f" }} notifications by {{ $labels.integration }} failed in '
            "<window>"
        ),
        description=(
            "Alerts to this receiver reach nobody. Read Alertmanager's log: is the key valid, is the address right?"
        ),
        dashboard=_OVERVIEW,
        variable=None,
    ),
    Alert(
        name="NotificationsDropped",
        expr="increase(prometheus_notifications_dropped_total[<window>]) > 0",
        summary='{{ $labels.instance }}: Prometheus dropped {{ $value | printf "%.0f" }} alerts in <window>',
        description=(
            "No Alertmanager accepted them, so nobody was notified. Check that Alertmanager runs, and its target file."
        ),
        dashboard=_OVERVIEW,
        variable=None,
    ),
    Alert(
        name="RuleEvaluationFailing",
        expr="increase(prometheus_rule_evaluation_failures_total[<window>]) > 0",
        summary=(
            "{{ $labels.instance }}: rules of {{ $labels.rule_group }} failed "
            '{{ $value | printf "%.0f" }} times in <window>'
        ),
        description="Alerts of this group cannot fire. The rules page of Prometheus shows which one fails, and why.",
        dashboard=_OVERVIEW,
        variable=None,
    ),
    Alert(
        name="ConfigurationNotReloaded",
        expr=(
            "prometheus_config_last_reload_successful == 0\n"
            "or\nalertmanager_config_last_reload_successful == 0\n"
            "or\ncertificate_exporter_config_last_reload_successful == 0"
        ),
        summary="{{ $labels.instance }}: {{ $labels.job }} could not read its new configuration",
        description="It keeps running with the old one, but cannot start with the new one. Its log says what is wrong.",
        dashboard=_OVERVIEW,
        variable=None,
    ),
    Alert(
        name="TargetFileUnreadable",
        expr="increase(prometheus_sd_file_read_errors_total[<window>]) > 0",
        summary="{{ $labels.instance }}: Prometheus could not read a target file",
        description="New nodes are not watched. Its log names the file; `promtool check config` shows the mistake.",
        dashboard=_OVERVIEW,
        variable=None,
    ),
    # Prometheus counts every target of a pool; what it stores of two with the same labels is one series of `up`.
    Alert(
        name="TargetInstanceNotUnique",
        expr=(
            "max by (scrape_job) (prometheus_target_scrape_pool_targets)\n"
            "- on (scrape_job)\n"
            'label_replace(count by (job) (up), "scrape_job", "$1", "job", "(.*)") > 0'
        ),
        summary="{{ $value }} targets of {{ $labels.scrape_job }} share an instance label",
        description=(
            "Their series overwrite each other. Give each target an instance of its own in targets/; commeazy-check "
            "names them."
        ),
        dashboard=_OVERVIEW,
        variable=None,
    ),
    Alert(
        name="TargetFlapping",
        expr=(
            "label_replace(\n"
            "  changes(up[<window>]) > <value>\n"
            "  or\n  changes(prosody_up[<window>]) > <value>\n"
            "  or\n  changes(pg_up[<window>]) > <value>\n"
            "  or\n  changes(coturn_up[<window>]) > <value>,\n"
            '  "of", "$1", "job", "(.+)"\n'
            ")\n"
            "or\nlabel_replace(\n"
            '  changes(haproxy_server_status{proxy="prosody_ws",state="UP"}[<window>]) > <value>,\n'
            '  "of", "$1", "server", "(.+)"\n'
            ")\n"
            "or\nlabel_replace(\n"
            "  changes(ssl_certificate_probe_success[<window>]) > <value>,\n"
            '  "of", "$1", "target", "(.+)"\n'
            ")"
        ),
        summary=(
            '{{ $labels.instance }}: {{ $labels.of }} went up or down {{ $value | printf "%.0f" }} times in <window>'
        ),
        description="It fails again and again, each time too briefly for other alerts. Check its log and the network.",
        dashboard=_OVERVIEW,
        variable=None,
    ),
    # An item that never was right is the work before production, and pages nobody.
    Alert(
        name="ChecklistItemFails",
        expr="checklist_item == 0 and max_over_time(checklist_item[<window>]) == 1",
        summary="{{ $labels.id }} of the production checklist was right and is wrong now",
        description=(
            "Section 20 demands it. Run commeazy-check --checklist: its line says what is wrong, where, and what to do."
        ),
        dashboard=_OVERVIEW,
        variable=None,
    ),
    *(watched.alert for watched in WATCHED),
)
