"""What the traffic generator refuses before it connects."""

from pathlib import Path

import pytest

from lab.users.accounts import create_accounts
from lab.users.traffic import Mix
from lab.users.wander import main, parse

PLACES = ["--websocket-url=ws://127.0.0.1:1/", "--tcp-address=127.0.0.1:1", "--admin-socket=/nonexistent/socket"]


@pytest.mark.parametrize(
    "parts",
    [
        {"websocket": 2, "tcp": 1, "hibernated": 2, "force_quit": 1, "vanished": 1},
        {"websocket": 2, "force_quit": 1, "away": 2},
    ],
)
def test_a_mix_with_more_parts_than_sessions_is_refused(parts: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="more"):
        Mix(**parts)


@pytest.mark.parametrize(
    "wrong", ["--tcp-address=host", "--users=-1", "--rate=0", "--duration=inf", "--rate=nan", "--within=0"]
)
def test_wrong_usage_ends_with_2(wrong: str) -> None:
    with pytest.raises(SystemExit) as end:
        parse([*PLACES, wrong])
    assert end.value.code == 2


def test_a_crowd_of_nobody_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as end:
        parse([*PLACES, "--users=0", "--tcp-users=0"])
    assert end.value.code == 2


def test_a_missing_admin_socket_is_one_line_and_1(caplog: pytest.LogCaptureFixture) -> None:
    assert main(PLACES) == 1
    assert "admin socket" in caplog.text
    assert "Traceback" not in caplog.text


async def test_no_name_reaches_the_admin_shell_that_could_be_code(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="small letters"):
        await create_accounts(tmp_path / "none", "x' .. os.exit() .. '", 1)
