"""Hosts: disk, memory and processors left, units that run, who has the address, how old the backups are."""

from dashboards.limits import above, above_share, below, knob, none_may_be, of_limit
from dashboards.page import folded, page, row
from dashboards.panels import series, states
from dashboards.pieces import CALM, CRITICAL, GOOD, WARNING, Look, Query
from dashboards.promql import HOSTS, labelled, rate
from dashboards.tables import Column, nodes
from dashboards.tiles import broken, stat

_BY_DISK = "instance_mountpoint:node_filesystem_free:ratio"
_FREE = f'{_BY_DISK}{{instance=~"$node"}}'
_FILES = 'instance_mountpoint:node_filesystem_files_free:ratio{instance=~"$node"}'
_JUDGED = f" and {_FREE}"  # not a disk that cannot be written to, or one of a container
# A full /boot pages nobody, nor does a lack of files: neither counts as less than the limit that pages.
_FULL = knob("HostDiskFull")
_SPACE_OR_FILES = (
    f'{_BY_DISK}{{mountpoint!~"/boot.*",instance=~"$node"}}'
    f' or clamp_min({_BY_DISK}{{mountpoint=~"/boot.*",instance=~"$node"}}, {_FULL:g})'
    f" or {labelled(f'clamp_min({_FILES}{_JUDGED}, {_FULL:g})', 'of', 'files')}"
)
_MEMORY = 'node_memory_MemAvailable_bytes{instance=~"$node"} / node_memory_MemTotal_bytes{instance=~"$node"}'
_USED = 'instance:node_cpu_used:ratio{instance=~"$node"}'
_TAKEN = 'instance:node_cpu_stolen:ratio{instance=~"$node"}'
_BUSY, _TAKEN_AWAY = knob("HostProcessorBusy"), knob("HostProcessorBusy", "share")
_OF_LIMIT = f"{_USED} / {_BUSY:g} or {labelled(f'{_TAKEN} / {_TAKEN_AWAY:g}', 'of', 'taken')}"
_TWO_LIMITS = f"in use, of {_BUSY * 100:g} %, or taken by other machines, of {_TAKEN_AWAY * 100:g} %"
_FAILED = 'node_systemd_unit_state{state="failed",instance=~"$node"}'
_CLOCK = 'instance:node_clock_offset_seconds:now{instance=~"$node"}'
_ROLES = {
    "0": ("stopped", CRITICAL),
    "1": ("standby", CALM),
    "2": ("active", CALM),
    "3": ("fault", CRITICAL),
}
_ROLE = 'keepalived_vrrp_state{instance=~"$node"}'
_DISK = below("HostDiskSpaceLow", "HostDiskFull")


def _also(alert: str) -> str:
    return f"Its alert also needs that less than {knob(alert, 'share') * 100:g} % is free."


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
            "Share of the fullest disk that is free: of its space, or of its files (inodes) if that is less. A full "
            f"/boot and a lack of files page nobody, so they are never shown as less than {_FULL * 100:g} %.",
            "percentunit",
            f"min({_SPACE_OR_FILES})",
            _DISK,
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
            "CPU limit used, most",
            f"Share of time that the processors are {_TWO_LIMITS}, whichever is more; on the host with most, over ten "
            "minutes.",
            "percentunit",
            f"max({_OF_LIMIT})",
            of_limit("HostProcessorBusy"),
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
        "Each host now, coloured by the limits of its alerts. Disk free: of space or of files, whichever is less. Cpu "
        f"limit: share of time that the processors are {_TWO_LIMITS}, whichever is more. Role: of the address that "
        "keepalived moves.",
        HOSTS,
        {
            "disk free": Column(f"min by (instance) ({_SPACE_OR_FILES})", "percentunit", limits=_DISK),
            "mem free": Column(f"max by (instance) ({_MEMORY})", "percentunit", limits=below("HostMemoryLow")),
            "cpu limit": Column(
                f"max by (instance) ({_OF_LIMIT})", "percentunit", limits=of_limit("HostProcessorBusy")
            ),
            "clock off": Column(f"max by (instance) ({_CLOCK})", "s", limits=above("HostClockWrong")),
            "failed": Column(f"sum by (instance) ({_FAILED})", limits=none_may_be("HostUnitFailed")),
            "role": Column(
                f"max by (instance) ({_ROLE})",
                "none",
                words=_ROLES,
            ),
        },
    ),
    graph=series(
        "Disk free",
        "Share of each disk's space that is free. /boot makes a warning only.",
        "percentunit",
        Query(_FREE, "{{instance}} {{mountpoint}}"),
        limits=_DISK,
    ),
    rows=[
        row(
            "Memory, processors, and when a disk is full",
            series(
                "Memory available",
                "Share of the memory that programs can still have; cached files count as available.",
                "percentunit",
                _MEMORY,
                limits=below("HostMemoryLow"),
            ),
            series(
                "Processors in use",
                "Share of time that the processors are not idle.",
                "percentunit",
                _USED,
                limits=above("HostProcessorBusy"),
            ),
            series(
                "Processor time taken by other machines",
                "Share of time that the hypervisor gave to other machines while this one had work (stolen time).",
                "percentunit",
                _TAKEN,
                limits=above_share("HostProcessorBusy"),
            ),
            series(
                "Time until a disk is full, by the last hour",
                f"At the rate of the last hour. Only disks that fill up, and only if they are full within ten days. "
                f"{_also('HostDiskFullSoon')}",
                "s",
                Query(
                    'instance_mountpoint:node_filesystem_full_seconds:short{instance=~"$node"} < 864000' + _JUDGED,
                    "{{instance}} {{mountpoint}}",
                ),
                limits=below("HostDiskFullSoon"),
                empty="no disk is filling",
            ),
            series(
                "Time until a disk is full, by the last 6 hours",
                "At the rate of the last six hours. Only disks that fill up, and only if they are full within ten "
                "days. "
                f"{_also('HostDiskFilling')}",
                "s",
                Query(
                    'instance_mountpoint:node_filesystem_full_seconds:long{instance=~"$node"} < 864000' + _JUDGED,
                    "{{instance}} {{mountpoint}}",
                ),
                limits=below("HostDiskFilling"),
                empty="no disk is filling",
            ),
        ),
        folded(
            "Failover and backups",
            states(
                "Role of each HAProxy",
                "keepalived's state. Exactly one is active, and has the address.",
                _ROLE,
                legend="{{instance}} {{iname}}",
                words=_ROLES | {"1": ("standby", GOOD), "2": ("active", GOOD)},
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
            states(
                "Reboot needed",
                "Whether an installed update waits for a reboot.",
                'node_reboot_required{instance=~"$node"}',
                words={"0": ("no", GOOD), "1": ("REBOOT", WARNING)},
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
                Query(_FILES + _JUDGED, "{{instance}} {{mountpoint}}"),
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
