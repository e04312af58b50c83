"""Which of a process's open files is coturn's log; shown on this very process."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from exporters.coturn import process
from exporters.coturn.process import Turnserver


@pytest.fixture
def ourselves() -> Turnserver:
    turnserver = Turnserver(Path("/etc/turnserver.conf"))
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
def test_the_log_is_distinguished_from_the_database_beside_it(
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


def test_a_log_that_was_opened_again_behind_many_sockets_is_found(
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


class Running:
    """A process as psutil shows one, with the name and arguments of a turnserver."""

    def __init__(self, *arguments: str, cwd: Path | None = None, name: str = "turnserver") -> None:
        self._arguments, self._cwd, self._name = arguments, cwd, name
        self.pid = os.getpid()

    def name(self) -> str:
        return self._name

    def cmdline(self) -> list[str]:
        return [self._name, *self._arguments]

    def cwd(self) -> str:
        if self._cwd is None:
            raise psutil.AccessDenied(self.pid)
        return str(self._cwd)

    def is_running(self) -> bool:
        return True

    def status(self) -> str:
        return psutil.STATUS_STOPPED

    def create_time(self) -> float:
        return 1.0


def found(monkeypatch: pytest.MonkeyPatch, config: Path, *running: Running) -> Running | None:
    monkeypatch.setattr(psutil, "process_iter", lambda: iter(running))
    turnserver = Turnserver(config)
    return turnserver._process if turnserver.identity else None  # type: ignore[return-value] # it is one of ours


@pytest.mark.parametrize("arguments", [("-c", "etc/turnserver.conf"), ("-c", "turnserver.conf"), (), ("-v",)])
@pytest.mark.parametrize("name", ["turnserver", "coturn"])
def test_a_turnserver_is_known_by_the_file_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], name: str
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        (folder / "etc").mkdir(parents=True)
        (folder / "etc/turnserver.conf").touch()
    one, other = Running(*arguments, cwd=theirs, name=name), Running(*arguments, cwd=ours, name=name)
    assert found(monkeypatch, ours / "etc/turnserver.conf", one, other) is other
    assert found(monkeypatch, ours / "etc/turnserver.conf", one) is None


@pytest.mark.parametrize("arguments", [("-n", "-v"), ("-c", "etc/turnserver.conf")])
def test_one_whose_file_is_not_known_is_taken_if_it_is_the_only_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    config = tmp_path / "turnserver.conf"
    config.touch()
    unknown = Running(*arguments)
    assert found(monkeypatch, config, unknown) is unknown
    assert found(monkeypatch, config, unknown, Running("-n")) is None
    ours = Running("-c", str(config))
    assert found(monkeypatch, config, unknown, ours) is ours
    assert found(monkeypatch, config, Running(*arguments, name="sleep")) is None


def test_another_coturn_does_not_take_the_place_of_one_that_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "turnserver.conf"
    config.touch()
    ours, other = Running("-c", str(config)), Running("-n", "-v")
    turnserver = Turnserver(config)

    def taken() -> object:
        return turnserver._process if turnserver.identity else None

    monkeypatch.setattr(psutil, "process_iter", lambda: iter([other, ours]))
    assert taken() is ours
    monkeypatch.setattr(psutil, "process_iter", lambda: iter([other]))
    monkeypatch.setattr(ours, "is_running", lambda: False)
    assert taken() is None
    turnserver.search_again()
    assert taken() is other


def test_a_process_that_is_about_to_end_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "turnserver.conf"
    config.touch()
    ending = Running()
    monkeypatch.setattr(ending, "cmdline", list)
    assert found(monkeypatch, config, ending) is None


def test_a_frozen_process_is_found_and_is_stopped() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        turnserver = Turnserver(Path("/etc/turnserver.conf"))
        turnserver._process = psutil.Process(process.pid)
        os.kill(process.pid, signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        state = turnserver.look()
        assert state
        assert state.stopped
        process.kill()
