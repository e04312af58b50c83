"""The check of our words finds what it should, and says in one line what to write instead."""

from __future__ import annotations

import pytest

from tests.prose import WORDS, every_text, finds, words

KNOWN = words(WORDS.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "text",
    [
        "Mended by a restart.",
        "# mend= the file",
        "It starts anew",
        "def test_it_is_made_anew_by_itself() -> None:",
        "def test_what_fires_is_shown() -> None:",
        "every query asked of Prometheus",
        "who was told of it",
        "a client whose server whose port",
        "It shall work",
    ],
)
def test_a_word_of_the_list_is_found_wherever_it_stands(text: str) -> None:
    assert finds("a.md", f"Fine.\n{text}\n", KNOWN)


@pytest.mark.parametrize("text", ["Amend it, recommend it.", "the first one's port", "shallow", "told apart", "x-mend"])
def test_a_part_of_another_word_is_not_found(text: str) -> None:
    assert not finds("a.md", text, KNOWN)


def test_a_find_is_one_line_with_the_place_and_the_advice() -> None:
    assert finds("docs/a.md", "Good.\nStart it anew.", KNOWN) == ['docs/a.md:2: "anew": say instead: again']


def test_a_line_of_the_list_without_an_advice_is_refused() -> None:
    with pytest.raises(ValueError, match="'mend' has no"):
        words("# words\n\nmend\n")


def test_the_texts_that_are_checked_are_ours_and_of_every_kind() -> None:
    found = every_text()
    assert {"README.md", "Makefile", "lab/install.sh", "tests/prose.py"} <= set(found)
    assert not [name for name in found if name.startswith("tests/recorded/") or name.endswith((".json", ".lock"))]
