"""Answers of Prosody that are no snapshot, or one with something wrong in it: one error, and never a traceback."""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.prosody.collector import collect
from exporters.prosody.snapshot import parse_snapshot
from tests.exporters.prosody.exposition import text
from tests.exporters.prosody.fakes import RECORDED
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterable


TEXT = json.dumps(json.loads((RECORDED / "prosody-snapshot.json").read_text()))


def recorded() -> Any:  # noqa: ANN401 - a tree of JSON
    return json.loads(TEXT)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "nil",
        "Result",
        "null",
        "[]",
        "1",
        '"text"',
        "{}",
        "[" * 100_000,
        re.sub(r'"start_time": \d+', '"start_time": 1' + 400 * "0", TEXT),
        TEXT[:-3],
        TEXT.replace("13", "\n", 1),
    ],
)
def test_what_is_not_a_snapshot_is_a_protocol_error(answer: str) -> None:
    with pytest.raises(TargetError, match=r"not a snapshot.*is its version 13\.0\?") as failure:
        parse_snapshot(answer)
    assert failure.value.reason == "protocol_error"
    assert "\n" not in str(failure.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def places(tree: Any, here: tuple[Any, ...] = ()) -> Iterable[tuple[Any, ...]]:  # noqa: ANN401 - a tree of JSON
    """Every path into the tree."""
    yield here
    below = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in below:
        yield from places(value, (*here, key))


PLACES = list(places(recorded()))


@given(st.text() | JSON.map(json.dumps))
def test_arbitrary_answers_raise_nothing_but_a_target_error(answer: str) -> None:
    with pytest.raises(TargetError):
        parse_snapshot(answer)


@given(st.sampled_from(PLACES[1:]), JSON)
def test_a_snapshot_with_one_thing_wrong_is_refused_or_collected(place: tuple[Any, ...], wrong: Any) -> None:  # noqa: ANN401 - a tree of JSON
    answer = copy.deepcopy(recorded())
    inner = answer
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = wrong
    try:
        snapshot = parse_snapshot(json.dumps(answer))
    except TargetError as error:
        assert error.reason == "protocol_error"  # noqa: PT017 - most raise, not all
        return
    assert text(collect(snapshot, None))  # a number that makes no sense is still a number
