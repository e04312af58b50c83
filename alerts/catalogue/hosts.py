"""Alerts about hosts, by Debian's node exporter, and about what their scripts tell: failover and backups."""

from typing import Final

from alerts.catalogue.alert import Alert

_HOSTS: Final = "hosts"
_FREE: Final = "instance_mountpoint:node_filesystem_free:ratio"

ALERTS: Final = (
    # A full /boot keeps the next kernel out and ends nothing that runs: HostDiskSpaceLow is early enough.
    Alert(
        name="HostDiskFull",
        expr=f'{_FREE}{{mountpoint!~"/boot.*"}} < <value>',
        summary=(
            "{{ $labels.instance }}: {{ $value | humanizePercentage }} of the disk at {{ $labels.mountpoint }} is free "
            "(needs <limit>)"
        ),
        description="Programs that write there stop: PostgreSQL, coturn's log, Prometheus. Free some space now.",
        dashboard=_HOSTS,
    ),
    Alert(
        name="HostDiskFullSoon",
        expr=f"instance_mountpoint:node_filesystem_full_seconds:short < <value>\nand {_FREE} < <share>",
        summary=(
            "{{ $labels.instance }}: the disk at {{ $labels.mountpoint }} will be full in "
            "{{ $value | humanizeDuration }}"
        ),
        description=(
            "Programs that write there will stop: PostgreSQL, coturn, Prometheus. See what grows, and free some space."
        ),
        dashboard=_HOSTS,
    ),
    Alert(
        name="HostDiskFilling",
        expr=f"instance_mountpoint:node_filesystem_full_seconds:long < <value>\nand {_FREE} < <share>",
        summary=(
            "{{ $labels.instance }}: the disk at {{ $labels.mountpoint }} will be full in "
            "{{ $value | humanizeDuration }}"
        ),
        description="Nothing has failed yet. See what grows there, and free or add space today.",
        dashboard=_HOSTS,
    ),
    Alert(
        name="HostDiskSpaceLow",
        expr=(
            f'label_replace({_FREE} < <value>, "of", "space", "", "")\n'
            "or\n"
            "label_replace(\n"
            "  instance_mountpoint:node_filesystem_files_free:ratio < <value>\n"
            f'  and {_FREE}, "of", "files", "", ""\n'
            ")"
        ),
        summary=(
            "{{ $labels.instance }}: {{ $value | humanizePercentage }} of the {{ $labels.of }} at "
            "{{ $labels.mountpoint }} is free (needs <limit>)"
        ),
        description="Old files have not been removed, or the disk is too small. See what fills it.",
        dashboard=_HOSTS,
    ),
    Alert(
        name="HostMemoryLow",
        expr="node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < <value>",
        summary="{{ $labels.instance }}: {{ $value | humanizePercentage }} of the memory is available (needs <limit>)",
        description=(
            "Soon the kernel kills a process. See which one grows; on a Prosody node, see how many sessions it has."
        ),
        dashboard=_HOSTS,
    ),
    Alert(
        name="HostProcessKilled",
        expr="instance:node_oom_kills:increase > 0",
        summary='{{ $labels.instance }}: the kernel killed {{ $value | printf "%.0f" }} processes for lack of memory',
        description="A service was killed or restarted. The kernel's log names it, and what used the memory.",
        dashboard=_HOSTS,
    ),
    Alert(
        name="HostProcessorBusy",
        expr=(
            'label_replace(instance:node_cpu_used:ratio > <value>, "of", "in use", "", "")\n'
            "or\n"
            'label_replace(instance:node_cpu_stolen:ratio > <share>, "of", "taken by other machines", "", "")'
        ),
        summary="{{ $labels.instance }}: {{ $value | humanizePercentage }} of the processors is {{ $labels.of }}",
        description=(
            "Everything on the host is slow. See which program it is; only the provider can give back what others take."
        ),
        dashboard=_HOSTS,
    ),
    Alert(
        name="HostClockWrong",
        expr="instance:node_clock_offset_seconds:now > <value>",
        summary=(
            '{{ $labels.instance }}: the clock is {{ $value | printf "%.1f" }} s away from the clock of Prometheus '
            "(limit <limit>)"
        ),
        description=(
            "Certificates, TURN credentials and push tokens depend on the clock. See whether it is synchronised."
        ),
        dashboard=_HOSTS,
    ),
    Alert(
        name="HostUnitFailed",
        expr='node_systemd_unit_state{state="failed"} == 1',
        summary="{{ $labels.instance }}: {{ $labels.name }} has failed",
        description="systemd has given up on it. Read its log, then start it again.",
        dashboard=_HOSTS,
    ),
    Alert(
        name="HostUnitRestarts",
        expr="instance_name:node_systemd_restarts:increase > <value>",
        summary='{{ $labels.instance }}: {{ $labels.name }} restarted {{ $value | printf "%.0f" }} times in <window>',
        description="It ends again and again, and systemd starts it again. Its log says why.",
        dashboard=_HOSTS,
    ),
    Alert(
        name="HostFilesNearlyUsed",
        expr="node_filefd_allocated / node_filefd_maximum > <value>",
        summary="{{ $labels.instance }}: {{ $value | humanizePercentage }} of fs.file-max is in use (limit <limit>)",
        description="At the limit nobody can connect to anything on the host. See which process holds so many files.",
        dashboard=_HOSTS,
    ),
    Alert(
        name="HostConntrackNearlyFull",
        expr="node_nf_conntrack_entries / node_nf_conntrack_entries_limit > <value>",
        summary=(
            "{{ $labels.instance }}: {{ $value | humanizePercentage }} of the connection table is used (limit <limit>)"
        ),
        description="When it is full new connections are dropped. Raise net.netfilter.nf_conntrack_max.",
        dashboard=_HOSTS,
    ),
    Alert(
        name="HostNetworkBusy",
        expr=(
            '8 * rate(node_network_transmit_bytes_total{device!="lo"}[<window>]) > <value>\n'
            "or\n"
            '8 * rate(node_network_receive_bytes_total{device!="lo"}[<window>]) > <value>'
        ),
        summary="{{ $labels.instance }}: {{ $labels.device }} carries {{ $value | humanize }}bit/s (limit <limit>)",
        description="Calls lose quality when a coturn's network is full. Add a coturn node, or find the flood.",
        dashboard=_HOSTS,
    ),
    Alert(
        name="HostRebootNeeded",
        expr="node_reboot_required == 1",
        summary="{{ $labels.instance }}: a reboot is needed for an update to take effect",
        description="Most are security updates of the kernel. Plan it, one node after the other.",
        dashboard=_HOSTS,
    ),
    # A host that is no target any more may be silent.
    Alert(
        name="HostLogSilent",
        expr='instance:log_age_seconds:now > <value> and on (instance) up{job="node"}',
        summary="{{ $labels.instance }}: the last line of its log came {{ $value | humanizeDuration }} ago",
        description="Its log is now only on the host itself. See whether its rsyslog reaches the log store.",
        dashboard=_HOSTS,
        labels={"of": "silent"},
    ),
    Alert(
        name="HostLogSilent",
        expr=(
            'up{job="node"} == 1\n'
            "unless on (instance) instance:log_age_seconds:now\n"
            "and on () group(instance:log_age_seconds:now)"
        ),
        summary="{{ $labels.instance }}: the log store has no line of its log, but has lines of other hosts",
        description="Its log is only on the host itself. Send it to the log store (docs/install.md, section 8).",
        dashboard=_HOSTS,
        labels={"of": "never"},
    ),
    # 2 is MASTER. A host that told of it may have the address though its exporter does not answer; one on which nothing
    # answers (NodeDown) does not have it.
    Alert(
        name="KeepalivedNoMaster",
        expr=(
            "count by (iname) (keepalived_vrrp_state)\n"
            "unless on (iname) keepalived_vrrp_state == 2\n"
            "unless on (iname) (\n"
            "  last_over_time(keepalived_vrrp_state[1h])\n"
            '  and on (instance) up{job="node"} == 0\n'
            "  unless on (instance) (max by (instance) (up) == 0 and count by (instance) (up) > 1)\n"
            ")"
        ),
        summary="No host has the address of {{ $labels.iname }}; {{ $value }} hosts report on it",
        description="Nobody can connect. See what keepalived says on each HAProxy, and start it.",
        dashboard=_HOSTS,
    ),
    Alert(
        name="KeepalivedTwoMasters",
        expr="count by (iname) (keepalived_vrrp_state == 2) > 1",
        summary="{{ $value }} hosts have the address of {{ $labels.iname }}",
        description="Users reach one or the other at random and lose connections. See why they do not hear each other.",
        dashboard=_HOSTS,
    ),
    # Whichever host made the last one.
    Alert(
        name="PostgresBackupOld",
        expr='min by (kind) (instance_kind:backup_age_days:now{kind="base"}) > <value>',
        summary='The last base backup that succeeded is {{ $value | printf "%.1f" }} days old (limit <limit>)',
        description="What has changed since can only be restored from archived WAL. See the log of the backup.",
        dashboard=_HOSTS,
    ),
    Alert(
        name="PostgresRestoreTestOld",
        expr='min by (kind) (instance_kind:backup_age_days:now{kind="restore_test"}) > <value>',
        summary='The last restore test succeeded {{ $value | printf "%.0f" }} days ago (limit <limit>)',
        description=(
            "A backup that was never restored may be useless. Restore the last one beside the server, and compare."
        ),
        dashboard=_HOSTS,
    ),
)
