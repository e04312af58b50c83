"""Which of a process's open files is coturn's log; shown on this very process."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from exporters.coturn import process
from exporters.coturn.config import Configuration
from exporters.coturn.process import Turnserver


@pytest.fixture
def ourselves() -> Turnserver:
    turnserver = Turnserver(Configuration(Path("/etc/turnserver.conf"), {}, ()))
    turnserver._process = psutil.Process()
    return turnserver


@pytest.mark.parametrize(
    ("base", "name"),
    [
        (None, "turn_4711_2026-01-31.log"),
        ("turn.log", "turn_2026-01-31.log"),
        ("turn.log", "turn.log"),
        ("turn.log", "turn.log.1"),
        ("calls.txt", "calls_2026-01-31.txt"),
        ("calls", "calls_2026-01-31.log"),
        ("turn", "turn"),
        ("calls.txt", "turn_4711_2026-01-31.log"),
    ],
)
def test_the_log_is_told_from_the_database_beside_it(
    tmp_path: Path, ourselves: Turnserver, base: str | None, name: str
) -> None:
    with (tmp_path / "turndb").open("w"), (tmp_path / name).open("w"):
        assert ourselves.log_file(tmp_path / base if base else None) == tmp_path / name


def test_a_log_under_another_name_than_the_process_has_for_it_is_found_in_its_own_tree(
    tmp_path: Path, ourselves: Turnserver
) -> None:
    with (tmp_path / "turn.log").open("w"):
        (tmp_path / "turn.log").rename(tmp_path / "turn.log.1")
        assert ourselves.log_file(None) == tmp_path / "turn.log.1"
        (tmp_path / "turn.log.1").unlink()
        assert ourselves.log_file(None) == Path(f"/proc/{os.getpid()}/root{tmp_path}/turn.log.1 (deleted)")


def test_a_log_that_was_opened_anew_behind_many_sockets_is_found(
    tmp_path: Path, ourselves: Turnserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, fallback = tmp_path / "turn.log", tmp_path / "turn_4711_2026-01-31.log"
    first = base.open("w")
    assert ourselves.log_file(base) == base
    with ExitStack() as sockets:
        for _ in range(300):
            sockets.enter_context(Path(os.devnull).open())
        first.close()
        sockets.enter_context(Path(os.devnull).open())  # somebody takes its number
        sockets.enter_context(fallback.open("w"))
        monkeypatch.setattr(process, "_SEARCH_EVERY", 0.0)
        assert ourselves.log_file(base) == fallback
        monkeypatch.setattr(process, "_SEARCH_EVERY", 3600.0)
        assert ourselves.log_file(base) == fallback  # it is remembered where
