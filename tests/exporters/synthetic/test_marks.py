"""Marks: nobody without all passwords can make one."""

from __future__ import annotations

import pytest

from exporters.synthetic.marks import Marks

MARKS = Marks(["one", "two"])


def test_a_mark_is_genuine_and_no_two_are_alike() -> None:
    made = {MARKS.new() for _ in range(100)}
    assert len(made) == 100
    assert all(MARKS.genuine(mark) for mark in made)
    assert all(Marks(["two", "one"]).genuine(mark) for mark in made), "another exporter with the same passwords"


@pytest.mark.parametrize("passwords", [["one"], ["two"], ["one", "three"], ["onetwo"]])
def test_one_stolen_password_signs_nothing(passwords: list[str]) -> None:
    assert not MARKS.genuine(Marks(passwords).new())


@pytest.mark.parametrize("text", ["", ".", "0.0", "phone", "é.é", "x" * 10000])
def test_what_is_no_mark_is_none(text: str) -> None:
    assert not MARKS.genuine(text)


def test_a_changed_mark_is_refused() -> None:
    random, _, signature = MARKS.new().partition(".")
    assert not MARKS.genuine(f"{random[::-1]}.{signature}")
    assert not MARKS.genuine(f"{random}.{signature[::-1]}")
