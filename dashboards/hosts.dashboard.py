"""Hosts: disk, memory and processors left, units that run, who has the address, how old the backups are."""

from dashboards.limits import above, below, none_may_be
from dashboards.page import folded, page, row
from dashboards.panels import series
from dashboards.pieces import CALM, CRITICAL, Look, Query
from dashboards.promql import HOSTS, rate
from dashboards.tables import Column, nodes
from dashboards.tiles import broken, stat

_FREE = 'instance_mountpoint:node_filesystem_free:ratio{instance=~"$node"}'
_MEMORY = 'node_memory_MemAvailable_bytes{instance=~"$node"} / node_memory_MemTotal_bytes{instance=~"$node"}'
_USED = 'instance:node_cpu_used:ratio{instance=~"$node"}'
_FAILED = 'node_systemd_unit_state{state="failed",instance=~"$node"}'
_CLOCK = 'abs(node_time_seconds{instance=~"$node"} - timestamp(node_time_seconds{instance=~"$node"}))'
_ROLE = 'keepalived_vrrp_state{instance=~"$node"}'


def _age(kind: str) -> Query:
    return Query(f'instance_kind:backup_age_days:now{{kind="{kind}",instance=~"$node"}}')


dashboard = page(
    "hosts",
    about=(
        "The machines that everything runs on, by Debian's node exporter. "
        "Bad is a disk that fills (PostgreSQL stops, and Prometheus), no memory left (the kernel kills a process), "
        "a unit that has failed, an address that no HAProxy or more than one has, and a backup that is old. "
        "A host without keepalived or backups has no line in those panels."
    ),
    tiles=[
        broken("Hosts down", "Hosts whose node exporter does not answer.", HOSTS),
        stat(
            "Disk free, least",
            "Share of the fullest disk that is free.",
            "percentunit",
            f"min({_FREE})",
            below("HostDiskSpaceLow"),
            of=HOSTS,
        ),
        stat(
            "Memory available, least",
            "Share of the memory that programs can still have, on the host with least.",
            "percentunit",
            f"min({_MEMORY})",
            below("HostMemoryLow"),
            of=HOSTS,
        ),
        stat(
            "Processors in use, most",
            "Share of time that the processors of the busiest host are not idle, over ten minutes.",
            "percentunit",
            f"max({_USED})",
            above("HostProcessorBusy"),
            of=HOSTS,
        ),
        stat(
            "Failed units",
            "Services that systemd has given up on.",
            "none",
            f"sum({_FAILED})",
            none_may_be("HostUnitFailed"),
            of=HOSTS,
        ),
    ],
    nodes=nodes(
        "Hosts",
        "Each host now, coloured by the limits of its alerts. Role: of the address that keepalived moves.",
        HOSTS,
        {
            "disk free": Column(f"min by (instance) ({_FREE})", "percentunit", limits=below("HostDiskFull")),
            "memory": Column(f"max by (instance) ({_MEMORY})", "percentunit", limits=below("HostMemoryLow")),
            "processor": Column(f"max by (instance) ({_USED})", "percentunit", limits=above("HostProcessorBusy")),
            "clock off": Column(f"max by (instance) ({_CLOCK})", "s", limits=above("HostClockWrong")),
            "failed": Column(f"sum by (instance) ({_FAILED})", limits=none_may_be("HostUnitFailed")),
            "role": Column(
                f"max by (instance) ({_ROLE})",
                "none",
                words={
                    "0": ("stopped", CRITICAL),
                    "1": ("standby", CALM),
                    "2": ("active", CALM),
                    "3": ("fault", CRITICAL),
                },
            ),
        },
    ),
    graph=series(
        "Disk free",
        "Share of each disk that is free.",
        "percentunit",
        Query(_FREE, "{{instance}} {{mountpoint}}"),
        limits=below("HostDiskSpaceLow"),
    ),
    rows=[
        row(
            "Will it last, and what is it used for",
            series(
                "Memory available",
                "Share of the memory that programs can still have; cached files count as available.",
                "percentunit",
                _MEMORY,
                limits=below("HostMemoryLow"),
            ),
            series(
                "Processors in use",
                "Share of time that the processors are not idle. Taken: given to other machines by the hypervisor.",
                "percentunit",
                Query(_USED, "{{instance}}"),
                Query('instance:node_cpu_stolen:ratio{instance=~"$node"}', "{{instance}} taken", Look.DASHED),
                limits=above("HostProcessorBusy"),
            ),
            series(
                "Time until a disk is full, by the last hour",
                "At the rate of the last hour. Only disks that fill up, and only if they are full within ten days.",
                "s",
                Query(
                    'instance_mountpoint:node_filesystem_full_seconds:short{instance=~"$node"} < 864000',
                    "{{instance}} {{mountpoint}}",
                ),
                limits=below("HostDiskFullSoon"),
                empty="no disk is filling",
            ),
            series(
                "Time until a disk is full, by the last 6 hours",
                (
                    "At the rate of the last six hours. Only disks that fill up, and only if they are full within ten "
                    "days."
                ),
                "s",
                Query(
                    'instance_mountpoint:node_filesystem_full_seconds:long{instance=~"$node"} < 864000',
                    "{{instance}} {{mountpoint}}",
                ),
                limits=below("HostDiskFilling"),
                empty="no disk is filling",
            ),
        ),
        folded(
            "Failover and backups",
            series(
                "Role of each HAProxy",
                "keepalived's state: 2 has the address, 1 stands by, 0 is stopped, 3 is a fault. Exactly one has 2.",
                "short",
                Query(_ROLE, "{{instance}} {{iname}}"),
            ),
            series(
                "Age of the last base backup",
                "Of the last that succeeded, by the host that made it.",
                "suffix:days",
                _age("base"),
                limits=above("PostgresBackupOld"),
            ),
            series(
                "Time since the last restore test",
                "Since the last restore test that succeeded, by the host that made it.",
                "suffix:days",
                _age("restore_test"),
                limits=above("PostgresRestoreTestOld"),
            ),
            series(
                "Age of the newest log line",
                "Since the log store last received a line of the host's log, if that is more than a minute ago.",
                "s",
                'instance:log_age_seconds:now{instance=~"$node"} > 60',
                limits=above("HostLogSilent"),
                empty="no log is known to be older than a minute",
            ),
            series(
                "Reboot needed",
                "1: an installed update waits for a reboot.",
                "short",
                'node_reboot_required{instance=~"$node"}',
            ),
        ),
        folded(
            "Units and processes",
            series(
                "Units that have failed",
                "Services that systemd has given up on.",
                "short",
                Query(f"max by (instance, name) ({_FAILED}) > 0", "{{instance}} {{name}}"),
                empty="no unit has failed",
            ),
            series(
                "Restarts in 15 minutes",
                "By systemd, of services that ended by themselves.",
                "short",
                Query('instance_name:node_systemd_restarts:increase{instance=~"$node"}', "{{instance}} {{name}}"),
                limits=above("HostUnitRestarts"),
                empty="nothing was restarted",
            ),
            series(
                "Processes killed for lack of memory",
                "In fifteen minutes, by the kernel.",
                "short",
                'instance:node_oom_kills:increase{instance=~"$node"}',
            ),
            series(
                "Clock offset",
                (
                    "Difference between the clocks of the host and of the monitoring host; a slow scrape adds up to a "
                    "second."
                ),
                "s",
                _CLOCK,
                limits=above("HostClockWrong"),
            ),
        ),
        folded(
            "Network and files",
            series(
                "Network traffic",
                "Received above zero, sent below, by network card.",
                "bps",
                Query(f"8 * {rate('node_network_receive_bytes_total')}", "{{instance}} {{device}} received"),
                Query(f"8 * {rate('node_network_transmit_bytes_total')}", "{{instance}} {{device}} sent", Look.BELOW),
                limits=above("HostNetworkBusy"),
            ),
            series(
                "Connection table in use",
                "Share of the connections that the firewall can track (conntrack). Only hosts that track connections.",
                "percentunit",
                'node_nf_conntrack_entries{instance=~"$node"} / node_nf_conntrack_entries_limit{instance=~"$node"}',
                limits=above("HostConntrackNearlyFull"),
                empty="no host has such a table",
            ),
            series(
                "Open files",
                "Share of fs.file-max, which is practically unlimited unless somebody lowered it.",
                "percentunit",
                'round(node_filefd_allocated{instance=~"$node"} / node_filefd_maximum{instance=~"$node"}, 0.0001)',
                limits=above("HostFilesNearlyUsed"),
            ),
            series(
                "Files free",
                "Share of each disk's inodes that are free. Without inodes no file can be created.",
                "percentunit",
                Query(
                    "min by (instance, mountpoint) "
                    '(node_filesystem_files_free{instance=~"$node"} / node_filesystem_files{instance=~"$node"})',
                    "{{instance}} {{mountpoint}}",
                ),
                limits=below("HostDiskSpaceLow"),
            ),
            series(
                "Load",
                "Processes that run or wait, averaged over five minutes.",
                "short",
                'node_load5{instance=~"$node"}',
            ),
        ),
    ],
)
