"""The command line of prosody-exporter: every wrong use is one line, and what is switched off is said."""

from __future__ import annotations

import logging
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporters.prosody import __main__ as program
from exporters.prosody.reader import SCRIPTS
from lab.running.workspace import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDING_THE_SCRIPT = [  # by hand: what Prosody does not know by itself
    "prosody_c2s_sessions",
    "prosody_c2s_hibernated_sessions",
    "prosody_presence_sessions",
    "prosody_presence_updates_total",
    "prosody_dead_connections_total",
    "prosody_authentications_total",
    "prosody_stanzas_total",
    "prosody_push_notifications_total",
    "prosody_push_registrations",
    "prosody_event_loop_lag_seconds",
]


@pytest.fixture(autouse=True)
def log_of_the_process() -> Iterator[None]:
    """Give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_print_script_prints_every_text_as_it_is_sent_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--print-script"]) == 0
    parts = re.split(r"^==> (\w+)\.lua <==\n", capsys.readouterr().out, flags=re.MULTILINE)
    names = ["installed", "instrument", "reader", "scrape", "uninstall"]
    assert parts == ["", *(part for name in names for part in (name, f">{SCRIPTS[name]}\n"))]


def test_a_script_that_cannot_be_printed_is_one_line_and_exit_code_1() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "exporters.prosody", "--print-script"]
        ended = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (
        1,
        "prosody-exporter: cannot print all of it: No space left on device\n",
    )


def test_ctrl_c_ends_an_uninstall_without_a_traceback(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "s"))
        hung.listen()
        program = ["env", "--default-signal=INT", sys.executable, "-m", "exporters.prosody"]
        with subprocess.Popen(
            [*program, "--uninstall", f"--prosody.socket={tmp_path / 's'}"], cwd=ROOT, stderr=subprocess.PIPE
        ) as uninstall:
            connection, _ = hung.accept()
            uninstall.send_signal(signal.SIGINT)
            _, errors = uninstall.communicate(timeout=60)
            connection.close()
    assert (uninstall.returncode, errors) == (130, b"")


def test_uninstall_from_a_server_that_is_away_is_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["--uninstall", f"--prosody.socket={tmp_path}/prosody.sock"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert f"cannot uninstall: no socket {tmp_path}/prosody.sock: start Prosody" in line


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--prosody.websocket-url=127.0.0.1:5280"], "is not a URL"),
        (["--prosody.websocket-url=ftp://127.0.0.1/"], "is not a URL"),
        (["--prosody.websocket-url=http:///xmpp-websocket"], "is not a URL"),
        (["--prosody.websocket-url=http://[::1/"], "is not a URL"),
        (["--prosody.websocket-url=http://127.0.0.1:99999/"], "is not a URL"),
        (["--prosody.websocket-url=http://127.0.0.1:http/"], "is not a URL"),
        (["--prosody.websocket-url=ws://user:secret@127.0.0.1/"], "has credentials in it"),
        (["--prosody.timeout=0"], "is not a number of seconds above 0"),
        (["--prosody.timeout=-1"], "is not a number of seconds above 0"),
        (["--prosody.timeout=soon"], "is not a number of seconds above 0"),
        (["--prosody.timeout=nan"], "is not a number of seconds above 0"),
        (["--prosody.timeout=inf"], "is not a number of seconds above 0"),
        (["--prosody.instrument=maybe"], "invalid choice"),
        (["--uninstall", "--print-script"], "not allowed with"),
        (["--prosody.sock=/x"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(flags)
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("prosody-exporter: ")
    assert said in line


def log_of(flags: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is logged before the web server starts."""
    program._exporter(program._parser().parse_args(flags))
    return capsys.readouterr().err.splitlines()


def test_instrument_off_names_the_families_that_will_be_missing(capsys: pytest.CaptureFixture[str]) -> None:
    [line] = log_of(["--prosody.instrument=off"], capsys)
    assert "level=warn" in line
    for name in NEEDING_THE_SCRIPT:
        assert name in line
    assert "prosody_memory_used_bytes" not in line
    assert "prosody_websocket_ping_seconds" not in line


def test_no_probe_names_the_family_that_will_be_missing(capsys: pytest.CaptureFixture[str]) -> None:
    [line] = log_of(["--prosody.websocket-url="], capsys)
    assert line.endswith('switched off: prosody_websocket_ping_seconds, prosody_websocket_login_mechanisms"')


def test_with_everything_on_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert log_of([], capsys) == []


@pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss"])
def test_urls_of_a_websocket_are_taken(scheme: str) -> None:
    url = f"{scheme}://[::1]:5280/xmpp-websocket"
    assert program._parser().parse_args([f"--prosody.websocket-url={url}"]).websocket_url == url
