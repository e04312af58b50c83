"""Which transactions of a real PostgreSQL count as long: Prosody's own are always open, and must not."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lab.stack import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.servers.postgresql import Postgresql

LONG = 6  # seconds
_AGE = "SELECT extract(epoch FROM now() - xact_start) FROM pg_stat_activity WHERE"
_PROSODYS, _FORGOTTEN = f"{_AGE} usename = 'prosody'", f"{_AGE} application_name = 'forgotten'"


@contextmanager
def forgotten(server: Postgresql, statement: str) -> Iterator[None]:
    """Keep a transaction open in which this statement was done, in a database that is not Prosody's."""
    find = f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres application_name=forgotten"
    with subprocess.Popen([server.program("psql"), "-q", find], stdin=subprocess.PIPE, text=True) as client:
        assert client.stdin is not None
        client.stdin.write(f"BEGIN; {statement};\n")
        client.stdin.flush()
        yield
        client.stdin.close()


def test_a_transaction_counts_once_it_holds_a_lock_and_prosodys_idle_one_does_not(tmp_path: Path) -> None:
    quick = tmp_path / "quick.yaml"
    quick.write_text("PostgresTransactionLong: {window: 3s, reason: Nobody waits five minutes for a test.}\n")
    with Lab() as lab:
        lab.prosody.database = lab.postgresql
        lab.prometheus.thresholds = quick
        lab.start(lab.postgresql, lab.postgres_exporters[0], lab.prosody, lab.prometheus)

        def longest() -> float:
            (sample,) = lab.prometheus.query("instance:pg_transaction_seconds:max")
            return sample.value

        def until_it_is_old(asked: str) -> float:
            deadline = time.monotonic() + 60
            while (age := float(lab.postgresql.ask(asked) or 0)) < LONG:
                assert time.monotonic() < deadline, age
                time.sleep(0.2)
            time.sleep(3)  # two scrapes, and the rule
            return age

        until_it_is_old(_PROSODYS)
        (idle,) = lab.prometheus.query(
            'pg_stat_activity_max_tx_duration{state="idle in transaction",datname="prosody"}'
        )
        assert idle.value > LONG, "PostgreSQL says that Prosody is in a transaction"
        assert longest() < 1, "and that is no long one"

        with forgotten(lab.postgresql, "SELECT count(*) FROM pg_class"):
            until_it_is_old(_FORGOTTEN)
            assert longest() < 1, "who only reads keeps nobody waiting"
        with forgotten(lab.postgresql, "CREATE TABLE forgotten ()"):
            age = until_it_is_old(_FORGOTTEN)
            assert age - 3 < longest() < float(lab.postgresql.ask(_PROSODYS)) - LONG, "its own age, and not Prosody's"
