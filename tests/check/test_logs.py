"""Personal data in logs: counted, and never shown."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from check.__main__ import main
from check.logs import count, of_this_host
from lab.running.workspace import ROOT
from tests.check.test_host import unprivileged

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("Authenticated as alice@commeazy.com/phone", (1, 0, 0)),
        ("from alice@commeazy.com to bob@chat.commeazy.com", (2, 0, 0)),
        ("device 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", (0, 1, 0)),
        ("token eKd3_-fU1234:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx", (0, 1, 0)),
        ("from 93.184.216.34 port 4", (0, 0, 1)),
        ("from [2a00:1450:4001:830::200e]:443", (0, 0, 1)),
        ("token ...abc123 sent, took 12:34:56, on 10.0.1.2, ::1, 127.0.0.1, 192.168.0.1", (0, 0, 0)),
        ("version 13.0.4, lib 1.2.3.4.5, started getty@tty1.service", (0, 0, 0)),
        ("commit 0c033110c03311, 2026-11-28T22:00:00.123456", (0, 0, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_what_is_personal_is_distinguished_from_what_is_not(line: str, found: tuple[int, int, int]) -> None:
    assert tuple(count([line.encode()]).found.values()) == found


def test_the_command_says_how_many_and_never_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad, good = tmp_path / "bad.log", tmp_path / "good.log"
    bad.write_bytes(b"to alice@commeazy.com\xff\n" * 1000)
    good.write_text("nothing\n")
    assert main(["--logs", str(bad), str(good)]) == 1
    said = capsys.readouterr().out
    assert said.splitlines() == [
        f"FAIL    {bad}: 1,000 user addresses in 1,000 lines",
        f"ok      {good}: no personal data in 1 lines",
    ]
    assert "alice" not in said
    assert main(["--logs", str(good)]) == 0


def test_the_logs_of_a_host_are_those_of_the_services_programs(tmp_path: Path) -> None:
    for name in ("prosody.log", "prosody.err", "prosody.log.1.gz"):
        (tmp_path / "var/log/prosody").mkdir(parents=True, exist_ok=True)
        (tmp_path / "var/log/prosody" / name).touch()
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/push-gateway.service").touch()
    assert list(of_this_host(tmp_path)) == ["prosody prosody.err", "prosody prosody.log", "push-gateway"]
    assert of_this_host(tmp_path)["push-gateway"] == "journal:push-gateway"


def test_a_folder_that_cannot_be_read_is_a_line_of_its_own_and_never_ok(tmp_path: Path) -> None:
    folder = tmp_path / "var/log/prosody"
    folder.mkdir(parents=True)
    (folder / "prosody.log").write_text("alice@commeazy.com\n")
    folder.chmod(0)
    program = (
        "import sys; from pathlib import Path; from check import checklist_command as command; "
        "found = command.logs.of_this_host(Path(sys.argv[1])); sys.exit(command.personal_data(list(found.values())))"
    )
    try:
        done = subprocess.run(
            [*unprivileged(), sys.executable, "-c", program, str(tmp_path)],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
    finally:
        folder.chmod(0o700)
    said = f"UNKNOWN {folder}: cannot be read: Permission denied; run this as root\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, said, "")


def test_a_journal_that_this_account_may_not_read_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As journalctl of systemd 252: without --system it reads the account's own journal, and says nothing.
    (tmp_path / "journalctl").write_text(
        '#!/bin/sh\ncase " $* " in *" --system "*) ;; *) exit 0 ;; esac\n'
        "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1\n"
    )
    (tmp_path / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert main(["--logs", "journal:push-gateway"]) == 1
    assert capsys.readouterr().out == (
        "UNKNOWN journal:push-gateway: cannot be read: "
        "No journal files were opened due to insufficient permissions.; run this as root\n"
    )
