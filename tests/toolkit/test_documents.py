"""A YAML file as nodes: what is wrong with one is always a single line with the file and the line number."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolkit.documents import ConfigError, compose, entries, scalar


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1\n", ":2: not valid YAML"),
        (b"a: 1\nb: \xff\n", ": not UTF-8 text"),
        (b"a: \x01\n", ": not valid YAML: it holds a control character"),
        (b"[" * 600, ": not valid YAML: nested too deeply"),
        (b"a: " + b"{b: " * 600, ": not valid YAML: nested too deeply"),
        (b"- 1\n", ":1: the file must be a mapping of keys to values"),
        (b"a: 1\nb: 2\na: 3\n", ":3: 'a' is given twice in the file, first on line 1"),
        (b"a: 1\n[b]: 2\n", ":2: a key of the file must be a single name"),
        (b"a: *b\n", ":1: not valid YAML"),
        (b" " * (5 << 20), ": is above 4 MiB"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.yml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        entries(path, compose(path), "the file")
    assert str(raised.value).startswith(f"{path}{message}")
    assert "\n" not in str(raised.value)


def test_a_missing_file_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No such file or directory; check --config.file and the file's permissions"):
        compose(tmp_path / "none.yml", "--config.file")


@pytest.mark.timeout(20)  # opening a FIFO without a writer would wait for one
def test_what_is_no_regular_file_is_reported_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero")):
        with pytest.raises(ConfigError, match=r"not a regular file; check --config\.file"):
            compose(path, "--config.file")


@pytest.mark.parametrize("content", ["", "# nothing\n", "null\n", "\ufeff# with a byte order mark\n"])
def test_nothing_is_an_empty_mapping(tmp_path: Path, content: str) -> None:
    path = tmp_path / "file.yml"
    path.write_text(content)
    assert entries(path, compose(path), "the file") == {}


def test_entries_know_their_lines_and_text_stays_as_written(tmp_path: Path) -> None:
    path = tmp_path / "file.yml"
    path.write_text("first: 010\n\nsecond: ~\nthird: [1]\n")
    found = entries(path, compose(path), "the file")
    assert [(entry.key, entry.line, scalar(entry.node)) for entry in found.values()] == [
        ("first", 1, "010"),
        ("second", 3, ""),
        ("third", 4, None),
    ]
