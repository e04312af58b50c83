"""The rotation that deploy/ has for coturn's log, by the real logrotate, beside an exporter that follows the log."""

from __future__ import annotations

import os
import pwd
import subprocess
from typing import TYPE_CHECKING

from lab.running.workspace import ROOT
from lab.users.turn import Allocations
from tests.live.coturn_lab import CoturnLab, Page
from tests.live.test_coturn import SPECIFIED_SOURCES, agree

if TYPE_CHECKING:
    from collections.abc import Callable

LOGROTATE = "/usr/sbin/logrotate"


def created(count: int) -> Callable[[Page], bool]:
    return lambda page: page.value("coturn_allocations_total", event="created") == count


def test_the_rotation_of_coturns_log_loses_no_line() -> None:
    with CoturnLab("simple-log") as lab, Allocations(lab.coturn) as calls:
        text = (ROOT / "deploy/logrotate/coturn").read_text()
        user = pwd.getpwuid(os.getuid()).pw_name
        for old, new in (
            ("/var/log/turnserver/turn.log", f"{lab.coturn.log_folder}/turn.log"),
            ("su turnserver turnserver", f"su {user} {user}"),
            ("systemctl kill --signal=HUP --kill-whom=main coturn.service", f"kill -HUP {lab.coturn.pid}"),
        ):
            assert text.count(old) == 1
            text = text.replace(old, new)
        rules = lab.directory / "logrotate.conf"
        rules.write_text(text)
        rules.chmod(0o644)
        rotate = [LOGROTATE, "--force", "--state", str(lab.directory / "state"), str(rules)]
        calls.hold(2)
        lab.until(created(2))
        subprocess.run(rotate, check=True)
        calls.hold(4)
        lab.exporter.restart()
        assert lab.until(created(4)).active == agree(4, *SPECIFIED_SOURCES), "read back over one rotation"
        subprocess.run(rotate, check=True)
        calls.hold(5)
        assert lab.until(created(5)).active == agree(5, *SPECIFIED_SOURCES)
        kept = sorted(path.name for path in lab.coturn.log_folder.iterdir())
        assert kept == ["turn.log", "turn.log.1", "turn.log.2.gz"]
