"""The log is followed through everything that happens to log files; no line is lost, none comes twice."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporters.coturn import log_follower
from exporters.coturn.config import LogPlace
from exporters.coturn.log_follower import LogFollower

if TYPE_CHECKING:
    from collections.abc import Iterator

START = b"Version Coturn-4.6.1"


class Followed:
    """A follower, what it has read, and the files it follows."""

    def __init__(self, folder: Path, *, dated: bool = False) -> None:
        self.folder = folder
        self.read: list[bytes] = []
        self.held: Path | None = None
        self.follower = LogFollower(LogPlace(folder / "turn.log", dated=dated), lambda: self.held, self.read.append)

    def write(self, *lines: bytes, name: str = "turn.log") -> None:
        with (self.folder / name).open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))

    async def now(self) -> list[bytes]:
        assert await self.follower.catch_up()
        return self.read


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Followed]:
    followed = Followed(tmp_path)
    yield followed
    followed.follower.close()


@pytest.fixture
def dated(tmp_path: Path) -> Iterator[Followed]:
    followed = Followed(tmp_path, dated=True)
    yield followed
    followed.follower.close()


async def test_what_is_no_regular_file_is_never_opened(single: Followed) -> None:
    os.mkfifo(single.folder / "turn.log")  # without a writer, opening it would wait for one
    await started(single)
    assert not await single.follower.catch_up()
    assert single.follower.path is None
    (single.folder / "turn.log").unlink()
    single.write(START, b"one")
    assert await single.now() == [START, b"one"]


async def test_a_file_that_cannot_be_read_any_more_is_tried_again(
    single: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    single.write(START, b"one")
    await started(single)

    def broken(*_: object) -> bytes:
        raise OSError("the disk")

    with monkeypatch.context() as failing:
        failing.setattr(os, "pread", broken)
        assert not await single.follower.catch_up()
    single.write(b"two")
    assert (await single.now())[-1] == b"two"


async def started(followed: Followed) -> None:
    """Begin as `running` does, and have read what is there."""
    followed.follower._begin()
    await followed.follower._drain()
    followed.follower.caught_up = True


async def test_nothing_is_said_before_all_is_read(single: Followed) -> None:
    single.write(START, b"a")
    assert not await single.follower.catch_up()
    async with single.follower.running():
        assert single.read == []


async def test_reading_begins_where_the_running_coturn_did(single: Followed) -> None:
    single.write(START, b"old", START, b"a")
    await started(single)
    single.write(b"b")
    assert await single.now() == [START, b"a", b"b"]


async def test_a_run_of_several_days_is_read_from_its_first_file(dated: Followed) -> None:
    dated.write(b"older", name="turn_2026-01-29.log")
    dated.write(b"old", START, b"a", name="turn_2026-01-30.log")
    dated.write(b"b", name="turn_2026-01-31.log")
    dated.write(b"c", name="turn_2026-02-01.log")
    dated.write(b"not a log", name="turn_old.log")
    await started(dated)
    assert await dated.now() == [START, b"a", b"b", b"c"]


async def test_a_run_across_rotations_is_read_from_its_first_file(single: Followed) -> None:
    for age, name in enumerate(("turn.log.2.gz", "turn.log.2", "turn.log-20260131", "turn.log", "turn.login")):
        single.write(START if age == 1 else name.encode(), name=name)
        os.utime(single.folder / name, (age, age))
    await started(single)
    single.write(b"a")
    assert await single.now() == [START, b"turn.log-20260131", b"turn.log", b"a"]


async def test_what_logrotate_made_already_is_not_read_before_coturn_writes_there(single: Followed) -> None:
    single.write(START, name="turn.log.1")
    single.write()
    single.held = single.folder / "turn.log.1"  # no SIGHUP has come yet
    await started(single)
    single.write(b"a", name="turn.log.1")
    assert await single.now() == [START, b"a"]
    single.held = single.folder / "turn.log"
    single.write(b"b")
    assert await single.now() == [START, b"a", b"b"]


async def test_a_start_too_far_back_is_not_searched_for(single: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_follower, "_REPLAY", 1000)
    single.write(START, *[b"x" * 99] * 20)
    await started(single)
    single.write(b"a")
    assert await single.now() == [b"a"]


async def test_a_start_across_two_blocks_is_found(single: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in range(20, 60):
        monkeypatch.setattr(log_follower, "_SLICE", size)
        path = single.folder / "blocks.log"
        path.write_bytes(b"before\n" + START + b" 'Gorst'\n" + b"x" * 30)
        assert log_follower._last_start(path, 1 << 20) == 7


async def test_a_log_that_is_not_there_yet_is_read_from_its_beginning(single: Followed) -> None:
    await started(single)
    assert not await single.follower.catch_up()
    single.write(b"a")
    assert await single.now() == [b"a"]


@pytest.mark.parametrize("is_dated", [False, True])
async def test_a_folder_one_may_not_look_into_is_looked_into_again(tmp_path: Path, is_dated: bool) -> None:  # noqa: FBT001 - a test's case
    folder = tmp_path / "log"
    folder.symlink_to("x" * 300)  # an error for root, too
    followed = Followed(folder, dated=is_dated)
    async with followed.follower.running():
        await asyncio.sleep(0)
        assert not await followed.follower.catch_up()
        folder.unlink()
        folder.mkdir()
        followed.write(b"a", name="turn_2026-01-31.log" if is_dated else "turn.log")
        assert await followed.now() == [b"a"]


async def test_a_newer_file_one_may_not_read_is_not_taken_for_silence(dated: Followed) -> None:
    dated.write(START, name="turn_2026-01-30.log")
    await started(dated)
    (dated.folder / "turn_2026-01-31.log").mkdir()  # which cannot be read, not even by root
    assert not await dated.follower.catch_up()
    (dated.folder / "turn_2026-01-31.log").rmdir()
    dated.write(b"a", name="turn_2026-01-31.log")
    assert await dated.now() == [START, b"a"]


async def test_at_midnight_the_old_file_is_read_to_its_end_and_then_the_new_one(dated: Followed) -> None:
    dated.write(START, name="turn_2026-01-30.log")
    await started(dated)
    dated.write(b"a", name="turn_2026-01-30.log")
    dated.write(b"b", name="turn_2026-01-31.log")
    assert await dated.now() == [START, b"a", b"b"]


async def test_a_line_written_while_the_next_file_is_looked_for_is_not_lost(dated: Followed) -> None:
    dated.write(START, name="turn_2026-01-30.log")
    await started(dated)

    def midnight() -> None:
        if not (dated.folder / "turn_2026-01-31.log").exists():
            dated.write(b"a", name="turn_2026-01-30.log")
            dated.write(b"b", name="turn_2026-01-31.log")

    dated.follower._held_open = midnight
    assert await dated.now() == [START, b"a", b"b"]


async def test_renamed_and_reopened_nothing_is_lost(single: Followed) -> None:
    single.write(START)
    await started(single)
    (single.folder / "turn.log").rename(single.folder / "turn.log.1")
    single.write(b"a", name="turn.log.1")
    assert await single.now() == [START, b"a"]
    single.write(b"b", name="turn.log.1")
    single.write(b"c")
    assert await single.now() == [START, b"a", b"b", b"c"]


@pytest.mark.parametrize("length", [1, 500])
async def test_truncated_and_written_again_it_is_read_from_the_start(single: Followed, length: int) -> None:
    single.write(START, b"x" * 100)
    await started(single)
    os.truncate(single.folder / "turn.log", 0)
    single.write(b"y" * length)  # shorter, or longer, than what was there before
    assert (await single.now())[2:] == [b"y" * length]


async def test_a_line_half_written_waits_for_its_other_half(single: Followed) -> None:
    await started(single)
    path = single.folder / "turn.log"
    path.write_bytes(b"ab")
    assert await single.now() == []
    with path.open("ab") as file:
        file.write(b"cd\n")
    assert await single.now() == [b"abcd"]


async def test_a_line_without_end_costs_a_bounded_amount_of_memory(single: Followed) -> None:
    await started(single)
    (single.folder / "turn.log").write_bytes(b"x" * (2 << 20))
    assert await single.now() == []
    assert len(single.follower._rest) <= 1 << 16
    single.write(b"", b"a")
    assert (await single.now())[1:] == [b"a"]


async def test_a_log_elsewhere_is_followed_where_the_process_holds_it(single: Followed) -> None:
    single.write(START, b"a", name="turn_4711_2026-01-31.log")
    single.held = single.folder / "turn_4711_2026-01-31.log"
    await started(single)
    assert await single.now() == [START, b"a"]
    assert single.follower.path == single.held


async def test_a_file_that_was_deleted_is_read_on_until_there_is_another(single: Followed) -> None:
    single.write(START)
    await started(single)
    with (single.folder / "turn.log").open("ab") as still_open:
        (single.folder / "turn.log").unlink()
        single.held = Path(f"{single.folder}/turn.log (deleted)")
        still_open.write(b"a\n")
        still_open.flush()
        assert await single.now() == [START, b"a"]
    single.held = None
    single.write(b"b")
    assert await single.now() == [START, b"a", b"b"]


async def test_coturns_own_place_is_found_without_a_log_file_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_follower, "_DEFAULT_FOLDERS", (str(tmp_path),))
    (tmp_path / "turn_1_2026-01-31.log").write_bytes(START + b"\n")
    read: list[bytes] = []
    follower = LogFollower(LogPlace(None, dated=True), lambda: None, read.append)
    follower._begin()
    await follower._drain()
    follower.close()
    assert read == [START]
