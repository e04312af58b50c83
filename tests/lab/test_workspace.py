"""What a lab leaves behind on the machine: nothing, however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lab.running.server import Server, Workspace, http_answers
from lab.running.workspace import ROOT, LabError
from tests.lab.pages import BROKEN, MOMENTS, NEVER_READY, Page, Script


class Interrupted:
    """A lab in another process, run up to a moment: its directory and its processes."""

    def __init__(self, moment: str) -> None:
        # `env` undoes a parent that ignores interrupts, as a shell's background job does.
        self.process = subprocess.Popen(
            ["env", "--default-signal=INT,TERM,HUP", sys.executable, "-m", "tests.lab.pages", moment],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.processes: list[psutil.Process] = []
        self.directory = Path("/nonexistent")
        assert self.process.stdout is not None
        for line in self.process.stdout:
            name, _, value = line.strip().partition("=")
            if name == "pid":
                self.processes.append(psutil.Process(int(value)))
            elif name == "directory":
                self.directory = Path(value)
                assert self.directory.is_dir()
            else:
                break

    def left(self) -> list[psutil.Process]:
        """Wait for the end; return the processes that did not end with it."""
        self.process.communicate()
        return psutil.wait_procs(self.processes, timeout=10)[1]


def _end_from_outside(server: Server, number: signal.Signals) -> None:
    os.kill(server.pid, number)
    assert server._executor is not None
    assert server._executor.process is not None
    server._executor.process.wait(10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_leaves_no_process_and_no_file(moment: str, number: signal.Signals) -> None:
    lab = Interrupted(moment)
    lab.process.send_signal(number)
    assert lab.left() == []
    assert not lab.directory.exists()
    assert lab.process.returncode != 0


def test_the_servers_die_with_an_owner_that_is_killed() -> None:
    lab = Interrupted("while_servers_run")
    lab.process.kill()
    assert lab.left() == []
    for file in sorted(lab.directory.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    lab.directory.rmdir()


def test_a_failure_inside_leaves_nothing_and_is_the_one_that_is_raised() -> None:
    with pytest.raises(ZeroDivisionError) as failure, Workspace() as lab:  # noqa: PT012 - leaving the lab is what raises
        page = Page(lab)
        page.start()
        pid = page.pid
        _ = 1 / 0
    assert "GET / HTTP/1.1" in failure.value.__notes__[0]
    assert not psutil.pid_exists(pid)
    assert not lab.directory.exists()


def test_a_server_that_crashes_is_named_with_its_last_words_and_the_others_still_end() -> None:
    with pytest.raises(LabError, match="crashing ended") as failure, Workspace() as lab:  # noqa: PT012 - as above
        page, crashing = Page(lab), Page(lab, "crashing")
        page.start()
        crashing.start()
        pid = page.pid
        assert lab.crashed() == []
        _end_from_outside(crashing, signal.SIGSEGV)
        assert [line.splitlines()[0] for line in lab.crashed()] == [
            "crashing ended by itself with exit code -11; its last log lines:"
        ]
    assert "GET / HTTP/1.1" in str(failure.value)
    assert not psutil.pid_exists(pid)
    assert not lab.directory.exists()


def test_a_server_that_ends_while_it_starts_is_named_with_its_last_words() -> None:
    with Workspace() as lab, pytest.raises(LabError) as failure:
        Script(lab, BROKEN).start()
    assert str(failure.value) == "script ended by itself with exit code 3; its last log lines:\n    the disk is full"


def test_a_server_that_is_never_ready_is_ended_and_named() -> None:
    with Workspace() as lab:
        never = Script(lab, NEVER_READY)
        never.patience = 0.5
        with pytest.raises(LabError, match=r"script was not ready after 0\.5 s; its last log lines:\n    not yet"):
            never.start()
        assert not never.running


def test_a_program_that_is_not_installed_is_named() -> None:
    with Workspace() as lab:
        absent = Page(lab)
        absent.command = lambda: ["no-such-server"]  # type: ignore[method-assign] # the one thing to change
        with pytest.raises(LabError, match="no-such-server is not installed"):
            absent.start()


def test_two_labs_side_by_side_share_nothing_and_end_in_any_order() -> None:
    with Workspace() as first:
        with Workspace() as second:
            pages = [Page(first), Page(second), Page(first, "more"), Page(second, "more")]
            for page in pages:
                page.start()
            assert len({page.port for page in pages}) == 4
            assert first.directory != second.directory
            assert all(http_answers(page.address) for page in pages)
        assert [page.running for page in pages] == [True, False, True, False]
    assert not first.directory.exists()


def test_a_reserved_port_is_given_to_nobody_who_asks_for_a_free_one() -> None:
    with Workspace() as lab, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(500)
        reserved = {lab.ports.reserve() for _ in range(50)}
        others = []
        for _ in range(200):
            bound = socket.socket()
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(("127.0.0.1", 0))
            others += [bound, socket.create_connection(listener.getsockname())]
        assert reserved.isdisjoint(other.getsockname()[1] for other in others)
        for other in others:
            other.close()


def test_a_server_comes_back_on_its_port_after_each_way_to_end() -> None:
    with Workspace() as lab:
        page = Page(lab)
        page.start()
        first = page.pid
        page.restart()
        second = page.pid
        page.kill()
        assert not http_answers(page.address)
        page.start()
        assert http_answers(page.address)
        assert len({first, second, page.pid}) == 3


def test_a_frozen_server_answers_nothing_and_goes_on_when_thawed() -> None:
    with Workspace() as lab:
        page = Page(lab)
        page.start()
        page.freeze()
        assert page.running
        assert not http_answers(page.address)
        page.thaw()
        assert http_answers(page.address)


def test_a_frozen_server_still_ends_in_order() -> None:
    with Workspace() as lab:
        page = Page(lab)
        page.start()
        page.freeze()
        page.stop()
        assert not page.running


def test_a_report_that_is_still_being_written_is_not_read() -> None:
    with Workspace() as lab:
        page = Page(lab, "page")
        page.log.write_text('ready\n{"at": 1}\n{"at": {"half": 2}', encoding="utf-8")
        assert page.reports() == [{"at": 1}]
