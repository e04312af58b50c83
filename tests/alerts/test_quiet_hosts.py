"""What hosts, databases and a pair of HAProxies may look like while all is well: no alert about them fires."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.alerts.mutation import rules, standing_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOURS = 8  # longer than any window and `for` of these alerts but HostRebootNeeded's
MINUTES = HOURS * 60
ABOUT = "(Host|Keepalived|Postgres|Haproxy).*"
Series = dict[str, str]

# Room and inodes of a disk, of its size; and whether it is read-only.
DISKS = (
    ("/dev/sda1", "ext4", "/", "600", "900", 0),
    ("/dev/sda2", "ext4", "/boot", "199-0.75x60 154x500", "990", 0),  # a new kernel
    ("/dev/sda3", "vfat", "/boot/efi", "980", "0", 0),  # vfat counts no inodes
    ("/dev/loop1", "squashfs", "/snap/core22/1380", "0", "0", 1),
    ("/dev/sr0", "iso9660", "/media/cidata", "0", "0", 1),
    ("tmpfs", "tmpfs", "/run/lock", "1000", "999", 0),
    ("tmpfs", "tmpfs", "/run/user/1000", "995", "980", 0),
    ("overlay", "overlay", "/data/docker/overlay2/3f/merged", "20", "990", 0),
    ("efivarfs", "efivarfs", "/firmware/efivars", "10", "0", 0),
    ("/dev/sdb", "btrfs", "/backup", "500", "0", 0),  # btrfs counts no inodes, either
    *((f"/dev/sdc{number}", "ext4", f"/srv/{number}", "300", "900", 0) for number in range(20)),
)
# No swap, no module for conntrack, no NTP, no other machine that takes processor time, a disk that is waited for.
HOST = {
    'up{job="node",instance="db1"}': "1",
    'node_memory_MemTotal_bytes{job="node",instance="db1"}': "4000000000",
    'node_memory_MemAvailable_bytes{job="node",instance="db1"}': "900000000",
    'node_memory_SwapTotal_bytes{job="node",instance="db1"}': "0",
    'node_memory_SwapFree_bytes{job="node",instance="db1"}': "0",
    'node_cpu_seconds_total{job="node",instance="db1",cpu="0",mode="idle"}': "0+6x",
    'node_cpu_seconds_total{job="node",instance="db1",cpu="0",mode="iowait"}': "0+50x",
    'node_time_seconds{job="node",instance="db1"}': "0+60x",
    'node_filefd_allocated{job="node",instance="db1"}': "1500",
    'node_filefd_maximum{job="node",instance="db1"}': "9223372036854776000",
    'node_vmstat_oom_kill{job="node",instance="db1"}': "3",
    'node_systemd_unit_state{job="node",instance="db1",name="ssh.service",state="failed",type="notify"}': "0",
    'node_systemd_unit_state{job="node",instance="db1",name="ssh.service",state="active",type="notify"}': "1",
    'node_systemd_service_restart_total{job="node",instance="db1",name="ssh.service"}': "7",
    'node_network_receive_bytes_total{job="node",instance="db1",device="lo"}': "0+9000000000x",
    'node_network_transmit_bytes_total{job="node",instance="db1",device="lo"}': "0+9000000000x",
    'node_network_transmit_bytes_total{job="node",instance="db1",device="eth0"}': "0+60000000x",
}
# Just installed: archive_mode is off, and nobody changes anything. Its replica is as fresh.
DATABASE = {
    f'{name}{{job="postgresql",instance="{instance}"{labels}}}': value
    for instance, standby in (("db1", "0"), ("db2", "1"))
    for name, labels, value in (
        ("up", "", "1"),
        ("pg_up", "", "1"),
        ("pg_settings_in_hot_standby", "", standby),
        ("pg_settings_max_connections", "", "100"),
        ("pg_stat_activity_count", ',datname="prosody",state="idle"', "12"),
        ("pg_stat_activity_max_tx_duration", ',datname="prosody",state="active"', "0.01"),
        ("pg_stat_archiver_archived_count", "", "0"),
        ("pg_stat_archiver_failed_count", "", "0"),
        ("pg_stat_archiver_last_archive_age", "", "NaN"),
        ("pg_stat_database_tup_inserted", ',datid="5",datname="prosody"', "700"),
        ("pg_stat_database_tup_updated", ',datid="5",datname="prosody"', "70"),
        ("pg_stat_database_tup_deleted", ',datid="5",datname="prosody"', "7"),
    )
} | {
    'pg_stat_replication_pg_wal_lsn_diff{job="postgresql",instance="db1",state="streaming"}': "0",
    'pg_replication_slots_active{job="postgresql",instance="db1",database="",slot_name="db2"}': "1",
    'pg_replication_slots_pg_wal_lsn_diff{job="postgresql",instance="db1",database="",slot_name="db2"}': "0",
}
# The second HAProxy is gone for good, and the first has the address.
PAIR = {
    'up{job="node",instance="haproxy1"}': "1",
    'up{job="node",instance="haproxy2"}': "1x60 0x500",
    'up{job="haproxy",instance="haproxy1"}': "1",
    'up{job="haproxy",instance="haproxy2"}': "1x60 0x500",
    'keepalived_vrrp_state{job="node",instance="haproxy1",iname="VI_1"}': "1x60 2x500",
    'keepalived_vrrp_state{job="node",instance="haproxy2",iname="VI_1"}': "2x60 stale",
}
# A cluster that had archived, on a night without a change.
NIGHT = DATABASE | {
    'pg_stat_archiver_archived_count{job="postgresql",instance="db1"}': "40",
    'pg_stat_archiver_last_archive_age{job="postgresql",instance="db1"}': "0+60x",
}


def _disks() -> Iterator[tuple[str, str]]:
    for device, kind, mountpoint, free, inodes, readonly in DISKS:
        labels = f'{{job="node",instance="db1",device="{device}",fstype="{kind}",mountpoint="{mountpoint}"}}'
        yield f"node_filesystem_avail_bytes{labels}", free
        yield f"node_filesystem_size_bytes{labels}", "1000"
        yield f"node_filesystem_files_free{labels}", inodes
        yield f"node_filesystem_files{labels}", "1000" if int(inodes) else "0"
        yield f"node_filesystem_readonly{labels}", str(readonly)


CASES = {
    "a host": dict(_disks()) | HOST,
    "a fresh database": DATABASE,
    "a database at night": NIGHT,
    "one of a pair": PAIR,
}


def _values(text: str) -> str:
    """Return a series of some hours, as promtool writes it: of one value, or of one that rises ("0+1x")."""
    if text == "NaN":
        return "NaN " * MINUTES
    if text.endswith("x"):
        return text + str(MINUTES)
    return text if " " in text else f"{text}x{MINUTES}"


def _firing(series: Series, folder: Path) -> str:
    """Return what promtool says; "" if nothing fires in the end."""
    alerts = [rule for rule in rules("alerts.yaml") if re.fullmatch(ABOUT, rule["alert"])]
    recordings = standing_on(rules("recording.yaml"), " ".join(rule["expr"] for rule in alerts))
    groups = [{"name": "recorded", "rules": recordings}, {"name": "alerts", "rules": alerts}]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    test: dict[str, Any] = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "5m",
        "group_eval_order": ["recorded", "alerts"],
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": _values(text)} for name, text in series.items()],
                "promql_expr_test": [
                    {"expr": 'count(ALERTS{alertstate="firing"})', "eval_time": f"{hours}h", "exp_samples": []}
                    for hours in (1, 2, HOURS)
                ],
            }
        ],
    }
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump(test), encoding="utf-8")
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_no_alert_fires(case: str, tmp_path: Path) -> None:
    assert not _firing(CASES[case], tmp_path)


@pytest.mark.parametrize(
    ("case", "series", "value"),
    [
        ("a host", 'node_memory_MemAvailable_bytes{job="node",instance="db1"}', "300000000"),
        ("a fresh database", 'pg_stat_archiver_failed_count{job="postgresql",instance="db1"}', "0+1x"),
        (
            "a database at night",
            'pg_stat_database_tup_updated{job="postgresql",instance="db1",datid="5",datname="prosody"}',
            "0+1x",
        ),
        ("one of a pair", 'keepalived_vrrp_state{job="node",instance="haproxy1",iname="VI_1"}', "1"),
    ],
)
def test_one_difference_fires(case: str, series: str, value: str, tmp_path: Path) -> None:
    assert series in CASES[case]
    assert _firing(CASES[case] | {series: value}, tmp_path)
