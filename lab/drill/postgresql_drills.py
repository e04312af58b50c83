"""The drills of PostgreSQL, its replica and its archive; postgresql_faults.py breaks them."""

from __future__ import annotations

from lab.drill import faults, postgresql_faults
from lab.drill.drill import Drill
from lab.drill.reasons import NO_LOGINS

POSTGRESQL_DRILLS = (
    Drill("PostgresSlotLost", "a slot made and never used", postgresql_faults.unused_slot, {"instance": "postgres1"}),
    Drill(
        "ProsodyLoginsFail",
        "the table of the accounts renamed",
        postgresql_faults.accounts_gone,
        minimum=3,
        beside=NO_LOGINS,
    ),
    Drill(
        "PostgresDown",
        "replica killed",
        lambda lab: faults.killed(lab.replica),
        {"instance": "postgres2"},
        beside={
            "PostgresReplicaMissing": "it was the only replica",
            "PostgresReplicationLagHigh": "its slot keeps the WAL of pgbench",
        },
    ),
    Drill(
        "PostgresReplicationLagHigh",
        "the replica's receiver frozen while the primary writes 30 MB",
        postgresql_faults.replica_behind,
        {"instance": "postgres1"},
    ),
    Drill("PostgresReplicaMissing", "replica cut off from its primary", postgresql_faults.replica_cut_off),
    Drill(
        "PostgresNoPrimary",
        "primary killed",
        postgresql_faults.primary_lost,
        {"job": "postgresql"},
        beside={
            "PostgresDown": "it is the primary that is down",
            "PostgresReplicaMissing": "a primary that is gone streams to nobody, nor at once when it is back",
            "MetricAbsent": "only the primary measures the lag; it may outlast the page by a scrape, and be sent then",
            "ProsodyLoginsFail": "Prosody asks the primary",
            **NO_LOGINS,
            "ProsodyDown": "a Prosody whose PostgreSQL dies may crash with it: docs/prosody.md",
        },
        silenced=("PostgresDown",),
    ),
    Drill(
        "PostgresSplitBrain",
        "the replica promoted while the primary runs on",
        postgresql_faults.replica_promoted,
        {"job": "postgresql"},
        beside={
            "PostgresReplicaMissing": "it is no replica any more",
            "PostgresDown": "it is made again from the primary afterwards",
            "TargetDown": "likewise",
        },
    ),
    Drill(
        "PostgresConnectionsHigh",
        "a program with 45 connections",
        lambda lab: postgresql_faults.connected(lab, 45),
        {"instance": "postgres1"},
        value=0.4,
    ),
    Drill(
        "PostgresTransactionLong",
        "a transaction that does not end",
        postgresql_faults.open_transaction,
        {"instance": "postgres1"},
        value=20,
    ),
    Drill(
        "PostgresArchivingFails",
        "archive_command = false",
        lambda lab: postgresql_faults.archived_by(lab, "false"),
        {"instance": "postgres1"},
    ),
    Drill(
        "PostgresArchiveOld",
        "an archive_command that hangs",
        lambda lab: postgresql_faults.archived_by(lab, "sleep 600"),
        {"instance": "postgres1"},
        value=60,
    ),
)
