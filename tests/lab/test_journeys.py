"""What the demo says of the test users, from answers written down here."""

from __future__ import annotations

import pytest

from check.prometheus import Sample
from lab.demo.journeys import Pair, pairs, stage_line, verdict


def message(origin: str, to: str, **labels: str) -> dict[str, str]:
    return {"from": origin, "to": to, **labels}


SAME = message("prosody1", "prosody1")
CROSS = message("prosody1", "prosody2")
ANSWER = (
    [
        Sample({**CROSS, "result": "bounced"}, 30),
        Sample({**CROSS, "result": "ok"}, 0),
        Sample({**SAME, "result": "ok"}, 31),
        Sample({**SAME, "result": "timeout"}, 1),
    ],
    [Sample(SAME, 0.003)],
    [Sample(SAME, 0.0091)],
)


def test_a_pair_is_one_line_the_same_node_first() -> None:
    assert [pair.line.split() for pair in pairs(*ANSWER)] == [
        ["prosody1", "->", "prosody1", "31", "of", "32", "arrived", "P50", "3.0", "ms", "P99", "9.1", "ms"],
        ["prosody1", "->", "prosody2", "0", "of", "30", "arrived", "(bounced", "30)"],
    ]


def test_the_stages_of_a_login_are_one_line_without_those_there_were_none_of() -> None:
    def stages(tcp: float, sasl: float) -> list[Sample]:
        values = {"tcp": tcp, "sasl": sasl, "name": float("nan")}
        return [Sample({"stage": stage}, value) for stage, value in values.items()]

    assert stage_line(stages(0.001, 0.02), stages(0.002, 0.04)) == "  P50/P99 in ms: tcp 1.0/2.0   sasl 20.0/40.0"


def test_what_appendix_a_cannot_do_is_explained_and_not_wrong() -> None:
    explained, wrong = verdict(pairs(*ANSWER), cross_node=True)
    assert "prosody1 -> prosody2" in explained[0]
    assert any("SyntheticMessagesFailing" in line for line in explained)
    assert wrong == []


@pytest.mark.parametrize("cross_node", [True, False])
def test_a_node_whose_own_users_do_not_reach_each_other_is_wrong(cross_node: bool) -> None:  # noqa: FBT001 - a parameter
    lost = Pair("prosody1", "prosody1", {"ok": 0, "timeout": 5}, float("nan"), float("nan"))
    fine = Pair("prosody2", "prosody2", {"ok": 5}, 0.003, 0.004)
    assert verdict([lost, fine], cross_node=cross_node) == ([], ["no message arrives from prosody1 to prosody1"])


def test_nothing_measured_is_wrong() -> None:
    assert verdict([], cross_node=True) == ([], ["no message of the test users has arrived"])
