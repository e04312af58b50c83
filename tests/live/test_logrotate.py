"""The rotation of Prosody's logs, by a real logrotate and on a real Prosody, which goes on in the new files."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from os import kill
from typing import TYPE_CHECKING

from lab.running.server import Workspace
from lab.running.workspace import ROOT
from lab.servers.prosody import Prosody

if TYPE_CHECKING:
    from pathlib import Path

FILE = ROOT / "deploy/logrotate/prosody"
APPENDIX_A = ROOT / "lab/servers/prosody.appendix-a.cfg.lua"


def _rotated(text: str, folder: Path) -> None:
    """Run logrotate with this configuration."""
    config = folder / "logrotate.conf"
    config.write_text(text)
    config.chmod(0o644)
    command = ["/usr/sbin/logrotate", "--force", "--state", str(folder / "state"), str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_log_of_appendix_a_is_rotated() -> None:
    logs = set(re.findall(r'"(/var/log/prosody/[\w.]+)"', APPENDIX_A.read_text()))
    assert len(logs) == 3
    assert logs <= set(FILE.read_text().split())


def test_a_running_prosody_writes_into_the_new_file_after_a_rotation(tmp_path: Path) -> None:
    with Workspace() as lab:
        log = lab.directory / "prosody.log"
        prosody = Prosody(lab, "prosody1", f'log = {{ info = "{log}" }}\n')
        prosody.start()
        text = (
            FILE.read_text().replace("/var/log/prosody", str(lab.directory)).replace("create 640 prosody adm", "create")
        )
        text = re.sub(r"\[ ! -e .*", f"kill -HUP {prosody.pid}", text)
        before = log.read_text()
        assert before
        _rotated(f"su root root\n{text}" if lab.directory.stat().st_uid == 0 else text, tmp_path)
        rotated = log.with_name("prosody.log.1")
        assert rotated.read_text().startswith(before)
        deadline = time.monotonic() + 20
        while not log.read_text():
            assert time.monotonic() < deadline, "nothing is written into the new file"
            kill(prosody.pid, signal.SIGHUP)  # a reload is a line in the log
            time.sleep(0.5)
