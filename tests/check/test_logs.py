"""Personal data in logs: counted, and never shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from check.__main__ import main
from check.logs import count, of_this_host

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
