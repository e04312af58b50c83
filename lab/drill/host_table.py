"""The drills of hosts, HAProxy's limits and PostgreSQL's archive; lab/drill/table.py has the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.drill import host_faults
from lab.drill.drill import Drill

if TYPE_CHECKING:
    from lab.servers.machine import Machine
    from lab.stack import Lab

_HOST = {"instance": "haproxy1"}
_GROWS = "it grew within a minute, which is the window here"
_FEW = "little of it is free"
_FULL = "it goes on growing until it is full"
_DOORS = {
    "HaproxyNoNodes": "no server takes connections",
    "HaproxyBackendNodesLow": "none is fewer than two",
    "HaproxyServerDown": "its check fails, too",
    "HaproxyErrorsHigh": "users are turned away",
    "HaproxyRetriesHigh": "connections are tried again",
    "HaproxyRequestsWait": "those that wait are in a queue",
    "CertificateProbeFailed": "the door is busy",
}


def _host(lab: Lab) -> Machine:
    return lab.pair[0]


def _besides(*names: str) -> dict[str, str]:
    return {name: reason for name, reason in _DOORS.items() if name not in names}


HOST_DRILLS = (
    Drill(
        "HostDiskFull",
        "39.5 of 40 MB used",
        lambda lab: host_faults.filled(_host(lab), 39),
        _HOST,
        beside={"HostDiskSpaceLow": _FEW, "HostDiskFullSoon": _GROWS, "HostDiskFilling": _GROWS},
        silenced=("HostDiskSpaceLow", "HostDiskFilling"),
    ),
    Drill(
        "HostDiskFullSoon",
        "34 of 40 MB used, and 50 KB more each second",
        lambda lab: host_faults.filled(_host(lab), 33, 50),
        _HOST,
        beside={"HostDiskFull": _FULL, "HostDiskSpaceLow": _FEW, "HostDiskFilling": _GROWS},
        silenced=("HostDiskFilling",),
    ),
    Drill(
        "HostDiskFilling",
        "26 of 40 MB used, and 20 KB more each second",
        lambda lab: host_faults.filled(_host(lab), 26, 20),
        _HOST,
    ),
    Drill(
        "HostDiskSpaceLow",
        "36 of 40 MB used",
        lambda lab: host_faults.filled(_host(lab), 36),
        {**_HOST, "of": "space"},
        beside={"HostDiskFullSoon": _GROWS, "HostDiskFilling": _GROWS},
    ),
    Drill(
        "HostMemoryLow",
        "files in memory that leave a twentieth of it",
        lambda lab: host_faults.short_of_memory(_host(lab)),
        _HOST,
        beside={"HostProcessKilled": "the kernel may need more"},
    ),
    Drill(
        "HostProcessKilled",
        "a program takes memory until the kernel ends it",
        lambda lab: host_faults.out_of_memory(_host(lab)),
        _HOST,
        beside={"HostMemoryLow": "until it is ended"},
    ),
    Drill(
        "HostProcessorBusy",
        "a program computes without end",
        lambda lab: host_faults.busy(_host(lab)),
        {**_HOST, "of": "in use"},
    ),
    Drill(
        "HostClockWrong", "the clock set forward by a minute", lambda lab: host_faults.clock_set(_host(lab), 60), _HOST
    ),
    Drill("HostUnitFailed", "a unit that runs /bin/false", lambda lab: host_faults.failed_unit(_host(lab)), _HOST),
    Drill(
        "HostUnitRestarts",
        "a unit that ends after half a second and is started again",
        lambda lab: host_faults.restarting_unit(_host(lab)),
        _HOST,
    ),
    Drill("HostFilesNearlyUsed", "fs.file-max lowered", lambda lab: host_faults.few_files(_host(lab)), _HOST),
    Drill(
        "HostConntrackNearlyFull",
        "a table for 100 connections, and 95 of them",
        lambda lab: host_faults.many_connections(_host(lab)),
        _HOST,
    ),
    Drill(
        "HostNetworkBusy",
        "the host sends as much as it can",
        lambda lab: host_faults.flood(_host(lab)),
        _HOST,
        value=5e6,
        beside={"HostProcessorBusy": "sending is all it does"},
    ),
    Drill(
        "HostRebootNeeded",
        "/run/reboot-required, read by Debian's collector",
        lambda lab: host_faults.reboot_needed(_host(lab)),
        _HOST,
    ),
    Drill(
        "HostLogSilent",
        "rsyslog stopped on a host whose log has come until then",
        lambda lab: host_faults.log_silent(_host(lab)),
        {**_HOST, "of": "silent"},
        value=15,
    ),
    Drill("KeepalivedNoMaster", "keepalived stopped on both HAProxies", host_faults.no_master, {"iname": "VI_1"}),
    Drill(
        "KeepalivedTwoMasters",
        "VRRP dropped between the two HAProxies",
        host_faults.two_masters,
        {"iname": "VI_1"},
    ),
    Drill(
        "PostgresBackupOld",
        "the last backup two days old, tonight's fails",
        lambda lab: host_faults.old_backup(_host(lab), "base", 2),
        {"kind": "base"},
    ),
    Drill(
        "PostgresRestoreTestOld",
        "the last trial 40 days old, today's fails",
        lambda lab: host_faults.old_backup(_host(lab), "restore_test", 40),
        {"kind": "restore_test"},
    ),
    Drill(
        "HaproxyConnectionsHigh",
        "300 clients that connect and say nothing",
        lambda lab: host_faults.idle_connections(lab, 300),
        _HOST,
        value=0.12,
    ),
    Drill(
        "HaproxyRequestsWait",
        "a maxconn of one for each server",
        host_faults.narrow_servers,
        {**_HOST, "proxy": "prosody_ws"},
        beside=_besides("HaproxyRequestsWait"),
    ),
    Drill(
        "HaproxyErrorsHigh",
        "users connect while every node is taken out of the backend",
        host_faults.turned_away,
        _HOST,
        beside=_besides("HaproxyErrorsHigh"),
    ),
    Drill(
        "HaproxyRetriesHigh",
        "users connect while the way to both nodes is cut",
        host_faults.not_accepting,
        {**_HOST, "proxy": "prosody_ws"},
        beside=_besides("HaproxyRetriesHigh"),
    ),
    Drill(
        "PostgresConnectionsHigh",
        "a program with 45 connections",
        lambda lab: host_faults.connected(lab, 45),
        {"instance": "postgres1"},
        value=0.4,
    ),
    Drill(
        "PostgresTransactionLong",
        "a transaction that does not end",
        host_faults.open_transaction,
        {"instance": "postgres1"},
        value=20,
    ),
    Drill(
        "PostgresArchivingFails",
        "archive_command = false",
        lambda lab: host_faults.archived_by(lab, "false"),
        {"instance": "postgres1"},
    ),
    Drill(
        "PostgresArchiveOld",
        "an archive_command that hangs",
        lambda lab: host_faults.archived_by(lab, "sleep 600"),
        {"instance": "postgres1"},
        value=60,
    ),
)
