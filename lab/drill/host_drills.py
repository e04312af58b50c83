"""The drills of a host: its disk, its clock, its units, its part of a pair, its backups; host_faults.py breaks it."""

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


def _host(lab: Lab) -> Machine:
    return lab.pair[0]


HOST_DRILLS = (
    Drill(
        "HostDiskFull",
        "39 of 40 MB used",
        lambda lab: host_faults.filled(lab, 39),
        _HOST,
        beside={"HostDiskSpaceLow": _FEW, "HostDiskFullSoon": _GROWS, "HostDiskFilling": _GROWS},
        silenced=("HostDiskSpaceLow", "HostDiskFilling"),
    ),
    Drill(
        "HostDiskFullSoon",
        "33 of 40 MB used, and 20 KB more each second",
        lambda lab: host_faults.filled(lab, 33, 20),
        _HOST,
        beside={"HostDiskFull": _FULL, "HostDiskSpaceLow": _FEW, "HostDiskFilling": _GROWS},
        silenced=("HostDiskFilling",),
    ),
    Drill(
        "HostDiskFilling",
        "26 of 40 MB used, and 20 KB more each second",
        lambda lab: host_faults.filled(lab, 26, 20),
        _HOST,
    ),
    Drill(
        "HostDiskSpaceLow",
        "36 of 40 MB used",
        lambda lab: host_faults.filled(lab, 36),
        {**_HOST, "of": "space"},
        beside={"HostDiskFullSoon": _GROWS, "HostDiskFilling": _GROWS},
    ),
    Drill(
        "HostMemoryLow",
        "files in memory that leave a fifth of it",
        lambda lab: host_faults.short_of_memory(_host(lab)),
        _HOST,
        value=0.25,
        beside={"HostProcessKilled": "the kernel may need more", "HostDiskFilling": "they grow on a disk, too"},
    ),
    Drill(
        "HostProcessKilled",
        "a program takes memory until the kernel ends it",
        lambda lab: host_faults.out_of_memory(_host(lab)),
        _HOST,
        beside={
            "HostMemoryLow": "until it is ended",
            "HostProcessorBusy": "the kernel looks for memory",
            "MonitoringTargetDown": "meanwhile nothing answers",
            "MetricAbsent": "as long as that is in its window",
        },
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
        "a unit that ends after two seconds and is started again",
        lambda lab: host_faults.restarting_unit(_host(lab)),
        _HOST,
    ),
    Drill(
        "HostFilesNearlyUsed",
        "a program with 2,000 open files, and fs.file-max lowered until that is nine tenths of it",
        lambda lab: host_faults.few_files(_host(lab)),
        _HOST,
    ),
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
        beside={"KeepalivedNoMaster": "at first both wait for the other"},
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
)
