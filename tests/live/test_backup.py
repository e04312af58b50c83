"""The scripts of deploy/hosts, on a real PostgreSQL: a time is written when a backup succeeds, and at no other time."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab.running.server import Workspace
from lab.running.workspace import ROOT
from lab.servers.postgresql import Postgresql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRIPTS = ROOT / "deploy/hosts"
ACCOUNTS = "CREATE TABLE prosody (store TEXT); INSERT INTO prosody VALUES ('accounts'), ('accounts'), ('roster')"


def _run(script: str, *arguments: str | Path, into: Path) -> subprocess.CompletedProcess[str]:
    command = [SCRIPTS / script, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"TEXTFILES": str(into)}
    )


def _told(folder: Path) -> dict[str, float]:
    """Read what the node exporter would: metric and label value -> value."""
    return {
        f"{sample.name} {' '.join(sample.labels.values())}": sample.value
        for file in folder.glob("*.prom")
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def server() -> Iterator[Postgresql]:
    with Workspace() as lab:
        server = Postgresql(lab, "postgres1")
        server.start()
        server.make_database("prosody")
        server.ask(ACCOUNTS, "prosody")
        yield server


@pytest.fixture(scope="module")
def backup(server: Postgresql, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a backup as the guide says, through the wrapper."""
    folder = server.directory / "backup"
    told = tmp_path_factory.mktemp("told")
    began = int(time.time())
    command = [server.program("pg_basebackup"), "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres"]
    done = _run("commeazy-backup", "base", *command, "-D", folder, "-Ft", "-z", "-c", "fast", into=told)
    assert done.returncode == 0, done.stderr
    assert list(_told(told)) == ["backup_last_success_timestamp_seconds base"]
    assert began <= _told(told)["backup_last_success_timestamp_seconds base"] <= time.time()
    server.hand_over(folder, *folder.iterdir())
    return folder


def _restore(server: Postgresql, *arguments: str | Path) -> tuple[int, str]:
    """Run the trial as PostgreSQL's user, as the guide does."""
    command = [*server._as_user(), str(SCRIPTS / "commeazy-restore-test"), *map(str, arguments)]
    scratch = server.directory / "scratch"
    scratch.mkdir(exist_ok=True)
    server.hand_over(scratch)
    environment = os.environ | {"TMPDIR": str(scratch)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=server.directory)
    assert not list(scratch.iterdir()), "it leaves nothing"
    return done.returncode, done.stdout + done.stderr


def test_a_backup_is_restored_and_its_accounts_are_counted(server: Postgresql, backup: Path) -> None:
    assert _restore(server, backup) == (0, f"restored {backup}: 2 accounts\n")


def test_a_backup_without_accounts_or_with_a_broken_part_fails_in_one_line_or_a_few(
    server: Postgresql, backup: Path
) -> None:
    code, said = _restore(server, backup, "prosody", "SELECT count(*) FROM prosody WHERE store = 'nothing'")
    assert (code, said) == (1, f"commeazy-restore-test: {backup}: the restored database has no accounts\n")
    code, said = _restore(server, server.directory)
    assert (code, said.count("\n")) == (2, 1)
    broken = server.directory / "broken"
    shutil.copytree(backup, broken)
    (broken / "base.tar.gz").write_bytes((backup / "base.tar.gz").read_bytes()[:-200_000])
    server.hand_over(broken, *broken.iterdir())
    assert _restore(server, broken)[0] != 0


def test_a_backup_that_fails_keeps_the_old_time_and_its_exit_code(tmp_path: Path) -> None:
    assert _run("commeazy-backup", "restore_test", "sh", "-c", "exit 7", into=tmp_path).returncode == 7
    assert not _told(tmp_path)
    assert _run("commeazy-backup", "base", "true", into=tmp_path).returncode == 0
    before = _told(tmp_path)
    assert _run("commeazy-backup", "base", "false", into=tmp_path).returncode == 1
    assert _told(tmp_path) == before
    assert [file.name for file in tmp_path.iterdir()] == ["backup-base.prom"]


@pytest.mark.parametrize("arguments", [(), ("base",), ("monthly", "true")])
def test_a_wrong_call_is_one_line_and_exit_code_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = _run("commeazy-backup", *arguments, into=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("said", "state"), [("MASTER", 2), ("BACKUP", 1), ("FAULT", 3), ("STOP", 0), ("MASTER_RX_LOWER_PRI", None)]
)
def test_keepaliveds_states_are_numbers(said: str, state: int | None, tmp_path: Path) -> None:
    assert _run("commeazy-keepalived-state", "INSTANCE", "VI_1", said, "100", into=tmp_path).returncode == 0
    assert _told(tmp_path) == ({} if state is None else {"keepalived_vrrp_state VI_1": state})
