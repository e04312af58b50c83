"""`systemctl reload` of every program: what the unit's ExecReload does to the program that its ExecStart started."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from lab.running.workspace import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNITS = ROOT / "deploy/systemd"
WEB = "--web.listen-address=127.0.0.1:0"
CERTIFICATES = "targets:\n  - {name: a, kind: file, paths: [none.pem]}\n"
COTURN = "listening-ip=127.0.0.1\nlistening-port=9\nlog-file=/dev/null\n"


@contextlib.contextmanager
def started(folder: Path, unit: str, *flags: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start what a unit starts, with these flags in place of its own, and wait until it listens."""
    program = re.search(r"^ExecStart=\S+/bin/(\S+)", (UNITS / unit).read_text(), re.MULTILINE)
    assert program
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [f"{sys.prefix}/bin/{program[1]}", *flags], stderr=file, env=os.environ | environment, text=True
        )
    try:
        wait_for(folder, process, "msg=listening")
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(folder: Path, process: subprocess.Popen[str], text: str) -> None:
    """Wait for a text in the log of a program that lives on."""
    until = time.monotonic() + 120
    while text not in (said := (folder / "log").read_text()):
        assert process.poll() is None, said
        assert time.monotonic() < until, said
        time.sleep(0.05)


def reload(unit: str, process: subprocess.Popen[str]) -> None:
    """Run the unit's ExecReload as systemd does."""
    line = re.search(r"^ExecReload=(.*)$", (UNITS / unit).read_text(), re.MULTILINE)
    assert line
    subprocess.run(line[1], shell=True, check=True, env={"MAINPID": str(process.pid), "PATH": os.environ["PATH"]})


@pytest.mark.parametrize(
    ("unit", "flag", "good", "wrong", "problem"),
    [
        ("certificate-exporter.service", "--config.file", CERTIFICATES, "targets: {}\n", "targets must be a list"),
        ("coturn-exporter.service", "--coturn.config", COTURN, None, "No such file or directory"),
        ("prosody-exporter.service", "--web.config.file", "", "basic: {}\n", "unknown key 'basic'"),
    ],
)
def test_a_wrong_file_leaves_the_old_configuration_and_a_good_one_is_taken(  # noqa: PLR0913, PLR0917 - a table of programs
    tmp_path: Path, unit: str, flag: str, good: str, wrong: str | None, problem: str
) -> None:
    file = tmp_path / "config"
    file.write_text(good)
    extra = ["--prosody.websocket-url="] if unit.startswith("prosody") else []
    with started(tmp_path, unit, WEB, f"{flag}={file}", *extra) as process:
        if wrong is None:
            file.unlink()
        else:
            file.write_text(wrong)
        reload(unit, process)
        wait_for(tmp_path, process, "the old one stays in force")
        [line] = [line for line in (tmp_path / "log").read_text().splitlines() if "stays in force" in line]
        assert problem in line
        file.write_text(good)
        reload(unit, process)
        wait_for(tmp_path, process, 'msg="configuration reloaded"')
        assert "Traceback" not in (tmp_path / "log").read_text()


def test_the_push_gateway_lives_through_a_reload(tmp_path: Path) -> None:
    environment = {"PUSH_SECRET": "s" * 32, "PORT": "0", "METRICS_LISTEN_ADDRESS": "127.0.0.1:0"}
    with started(tmp_path, "push-gateway.service", **environment) as process:
        reload("push-gateway.service", process)
        time.sleep(1)  # nothing is announced: long enough to die of the signal
        assert process.poll() is None
