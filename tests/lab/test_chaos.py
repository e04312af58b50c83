"""The chaos run's judgement, from what is written down here: what is a lie, a false alarm, a leak, a lost push."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from check.prometheus import Sample
from lab.chaos import vitals
from lab.chaos.caller import Asked, audit
from lab.chaos.judge import Episode, Look, false_alarms, judge
from lab.chaos.ledger import Ledger
from lab.chaos.logs import complaints
from lab.chaos.processes import Holding, Life
from lab.chaos.report import Result, lines
from lab.chaos.table import FAULTS, TWO_SCRAPES, Fault, Kind, heals
from lab.stack import Lab

if TYPE_CHECKING:
    from lab.chaos.caller import Books
    from lab.chaos.vitals import States

KILLED = Fault("prosody1", Kind.KILL, "xmpp", says={"prosody_up prosody1": TWO_SCRAPES})
EXPORTER = Fault("prosody1-exporter", Kind.KILL, "exporter", loses={"prosody_up prosody1": TWO_SCRAPES})
UP: States = {"prosody_up prosody1": True}
DOWN: States = {"prosody_up prosody1": False}
GONE: States = {}


def episode(fault: Fault = KILLED, began: float = 100, seconds: float = 20) -> Episode:
    return Episode(fault, began, began, began + seconds, began + seconds + 1)


def looks(*parts: tuple[States, int, int]) -> list[Look]:
    """A look a second, each part from one second up to another."""
    return [Look(second, states) for states, first, last in parts for second in range(first, last)]


# The table -------------------------------------------------------------------------------------------------------


def test_every_fault_is_of_a_server_of_the_lab_and_speaks_of_statements_there_are() -> None:
    lab = Lab()
    names = {server.name for server in vars(lab).values() if hasattr(server, "name")}
    names |= {server.name for node in lab.nodes for server in (node.prosody, node.push_gateway, node.exporter)}
    names |= {"log disk"}
    lab.ports.release()
    for fault in FAULTS:
        assert fault.server in names
        for statement in (*fault.must, *fault.may):
            assert statement.split()[0] in vitals.STATEMENTS, f"{fault.name}: {statement}"


def test_each_fault_lasts_long_enough_for_what_a_scrape_must_show() -> None:
    for fault in FAULTS:
        soonest = min(fault.must.values(), default=0)
        assert fault.lasts[0] > soonest, fault.name
        assert 5 <= fault.lasts[0] < fault.lasts[1] <= 30, fault.name


def test_no_fault_is_there_twice() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


# What Prometheus says --------------------------------------------------------------------------------------------


def sample(name: str, value: float, **labels: str) -> Sample:
    return Sample({"__name__": name, "instance": "prosody1", "job": "prosody", **labels}, value)


def test_statements_have_names_and_are_healthy_within_their_bounds() -> None:
    said = [
        sample("up", 0),
        sample("push_provider_state", 1, handler="voip"),
        sample("push_inflight", 3, handler="voip"),
        sample("push_inflight", 4, handler="fcm"),
        sample("haproxy_server_status", 1, proxy="prosody_ws", state="UP", server="prosody1"),
        sample("haproxy_server_status", 0, proxy="prosody_ws", state="DOWN", server="prosody1"),
        sample("haproxy_backend_up", 1),
    ]
    assert vitals.read(said) == {
        "up prosody prosody1": False,
        "push_provider_state prosody1 voip": True,
        "push_inflight prosody1 voip": True,
        "push_inflight prosody1 fcm": False,
        "haproxy_server_status prosody1": True,
        "haproxy_backend_up prosody1": False,
    }
    assert vitals.sick({"a": True, "b": False}, ["a", "b", "c"]) == ["b", "c"]


# Lies ------------------------------------------------------------------------------------------------------------


def test_a_fault_that_is_shown_in_time_and_over_in_time_is_no_lie() -> None:
    verdict = judge(episode(), looks((UP, 90, 104), (DOWN, 104, 123), (UP, 123, 140)), [])
    assert verdict.shown == {"prosody_up prosody1": 4}
    assert verdict.healed == {"prosody_up prosody1": 2}
    assert verdict.lies == []


@pytest.mark.parametrize(
    ("said", "lie"),
    [
        (looks((UP, 90, 140)), "prosody_up prosody1 is healthy 20.0 s after; 7.0 s allowed"),
        (looks((UP, 90, 109), (DOWN, 109, 122), (UP, 122, 140)), "is healthy 8.0 s after"),
        (looks((DOWN, 90, 115), (UP, 115, 140)), "is healthy 20.0 s after"),
        (looks((UP, 90, 104), (GONE, 104, 122), (UP, 122, 140)), "is gone, and not 0, 20.0 s after"),
        (looks((UP, 90, 104), (DOWN, 104, 130), (UP, 130, 140)), "healthy again 9.0 s after, 7.0 s allowed"),
        (looks((UP, 90, 104), (DOWN, 104, 140)), "healthy again never after"),
    ],
)
def test_a_lie_is_found(said: list[Look], lie: str) -> None:
    (found,) = judge(episode(), said, []).lies
    assert found.startswith("prosody1 killed: ")
    assert lie in found


def test_a_fault_that_was_too_short_to_be_seen_is_not_judged() -> None:
    verdict = judge(episode(seconds=5), looks((UP, 90, 140)), [])
    assert (verdict.shown, verdict.lies) == ({}, [])


def test_where_another_fault_hides_it_a_missing_statement_is_no_lie_and_a_healthy_one_is() -> None:
    both = [episode(), episode(EXPORTER, 102)]
    assert judge(both[0], looks((UP, 90, 104), (GONE, 104, 130), (UP, 130, 140)), both).lies == []
    assert len(judge(both[0], looks((UP, 90, 140)), both).lies) == 1


def test_what_is_sick_without_a_reason_is_a_false_alarm_and_a_lie_if_it_lasts() -> None:
    said = looks(
        (UP, 60, 70), (DOWN, 70, 72), (UP, 72, 80), (GONE, 80, 90), (UP, 90, 100), (DOWN, 100, 122), (UP, 122, 150)
    )
    blip, absence = false_alarms(said, UP, [episode()])
    assert (blip.began, blip.seconds, blip.lasting) == (70, 2, False)
    assert (absence.began, absence.seconds, absence.lasting) == (80, 10, True)


def test_a_fault_excuses_only_what_it_concerns_and_only_until_it_must_be_over() -> None:
    one = episode()
    assert one.concerns("prosody_up prosody1", 100)
    assert one.concerns("prosody_up prosody1", 121 + heals("prosody_up prosody1"))
    assert not one.concerns("prosody_up prosody1", 122 + heals("prosody_up prosody1"))
    assert not one.concerns("prosody_up prosody2", 110)
    assert Fault("x", Kind.SLOW, "x", may=("push_inflight",)).touches("push_inflight prosody1 voip")
    assert not Fault("x", Kind.SLOW, "x", may=("up prosody prosody1",)).touches("up prosody prosody11")


# The books -------------------------------------------------------------------------------------------------------


def wrong(*moments: list[Sample], started: dict[str, list[float]] | None = None) -> list[str]:
    ledger = Ledger(began=0)
    for second, samples in enumerate(moments, start=1000):
        ledger.take(second, samples, started or {})
    return list(ledger.wrong)


def test_a_counter_goes_down_only_when_what_counts_was_started_again() -> None:
    moments = [[sample("prosody_stanzas_total", 5)], [sample("prosody_stanzas_total", 2)]]
    assert wrong(*moments) == ['prosody_stanzas_total{instance="prosody1"} went down']
    assert wrong(*moments, started={"prosody1": [1000.5]}) == []
    assert wrong(*moments, started={"prosody2": [1000.5]}) != []
    assert wrong(*moments, started={"prosody1": [100.0]}) != []


def test_a_counter_grows_over_restarts() -> None:
    ledger = Ledger(began=0)
    for second, value in enumerate((5, 7, 2)):
        ledger.take(second, [sample("prosody_stanzas_total", value)], {"prosody1": [second]})
    assert ledger.total("prosody_stanzas_total") == 9


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("push_gateway_uptime_seconds", -10800, "is negative"),
        ("push_gateway_uptime_seconds", 10800, "is longer than the lab exists"),
        ("prosody_memory_used_bytes", 1e13, "is huge"),
        ("prosody_open_fds", float("nan"), "is NaN"),
    ],
)
def test_an_absurd_value_is_found(name: str, value: float, what: str) -> None:
    assert wrong([sample(name, value)]) == [f'{name}{{instance="prosody1"}} {what}']


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("push_gateway_uptime_seconds", 900),
        ("ssl_certificate_expiry_days", -1),
        ("process_start_time_seconds", 1.7e9),
        ("push_token_age_seconds", 10800),
        ("instance:push_voip_failed:ratio", float("nan")),
    ],
)
def test_a_sound_value_is_not_found(name: str, value: float) -> None:
    assert wrong([sample(name, value)]) == []


def test_every_push_that_a_gateway_answered_ended_in_one_way() -> None:
    answered = sample("push_requests_total", 3, code="200")
    assert wrong([answered, sample("push_voip_sent_total", 2), sample("push_fcm_failed_total", 1)]) == []
    assert wrong([answered, sample("push_voip_sent_total", 2)]) == ["prosody1: 3 pushes answered, 2 counted"]


# Pushes ----------------------------------------------------------------------------------------------------------

PROVIDERS = Fault("providers", Kind.FREEZE, "push")


def books(outcome: str | None, *ids: str, fault: Fault | None = None, accepted: bool = True) -> Books:
    asked = [Asked("prosody1-gateway", "node", 110, 111, outcome)]
    received = [{"node": "node", "id": one, "accepted": accepted} for one in ids]
    return audit(asked, received, [episode(fault)] if fault else [])


def test_a_push_that_arrives_once_is_in_order() -> None:
    found = books("sent", "a")
    assert (found.asked, found.sent, found.arrived, found.repeated, found.wrong) == (1, 1, 1, 0, [])


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (books("sent"), "did not arrive"),
        (books("sent", fault=PROVIDERS), "did not arrive"),
        (books("sent", "a", accepted=False), "did not arrive"),
        (books("sent", "a", "b", fault=PROVIDERS), "arrived under 2 names"),
        (books("sent", "a", "a"), "arrived 2 times, with nothing broken"),
        (books("expired"), "was lost, with nothing broken"),
        (books(None), "was lost, with nothing broken"),
        (books("expired", fault=KILLED), "was lost, with nothing broken"),
    ],
)
def test_a_push_that_is_lost_or_doubled_is_found(found: Books, what: str) -> None:
    (one,) = found.wrong
    assert what in one


def test_a_push_may_fail_or_arrive_twice_as_one_while_its_providers_are_broken() -> None:
    assert books("expired", fault=PROVIDERS).wrong == []
    again = books("sent", "a", "a", fault=PROVIDERS)
    assert (again.repeated, again.wrong) == (1, [])


# Processes and logs ----------------------------------------------------------------------------------------------


def life(memory: int, descriptors: int, threads: int) -> Life:
    return Life("prosody1-exporter", Holding(0, 40_000_000, 10, 2), Holding(100, memory, descriptors, threads))


def test_a_process_leaks_when_it_holds_more_than_is_allowed() -> None:
    assert life(51_000_000, 20, 6).leaks == []
    assert life(53_000_000, 10, 2).leaks == ["prosody1-exporter: memory grew by 13.0 MB in 100 s"]
    assert life(40_000_000, 21, 2).leaks == ["prosody1-exporter: 10 descriptors became 21"]
    assert life(40_000_000, 10, 7).leaks == ["prosody1-exporter: 2 threads became 7"]


def test_a_log_has_one_statement_a_line_and_no_traceback() -> None:
    said = 'ts=2026-01-31T12:00:00.000Z level=info logger=gateway.app msg="listening" port=1'
    bug = 'ts=2026-01-31T12:00:00.000Z level=error logger=asyncio msg="a \\"bug\\"" traceback="Traceback ..."'
    refused = "ts=2026-01-31T12:00:00.000Z level=error logger=gateway.tokens msg=no error=12"
    assert complaints([said]) == ([], {})
    assert complaints([bug]) == ([bug], {})
    assert complaints(["Traceback (most recent call last):", "x"], torn=True)[0] == [
        "Traceback (most recent call last):"
    ]
    assert complaints(["ts=2026-01"], torn=True)[0] == []
    assert complaints(["ts=2026-01"])[0] == ["ts=2026-01"]
    assert complaints([refused, refused.replace("12", "13")])[1] == {"no error=#": 2}


# The report ------------------------------------------------------------------------------------------------------


def test_the_report_has_a_row_for_each_fault_that_was_made_and_says_what_was_wrong() -> None:
    fault = next(fault for fault in FAULTS if fault.name == "prosody1 killed")
    verdicts = [
        judge(episode(fault, seconds=8), looks((UP, 90, 104), (DOWN, 104, 112), (UP, 112, 140)), []) for _ in "ab"
    ]
    verdicts[0].lies.append("a lie")
    result = Result(
        seconds=60,
        seed=7,
        verdicts=verdicts,
        alarms=[],
        crashes=[("prosody1 killed", "it ended")],
        others=[],
        books=books("sent", "a"),
        absurd=[],
        lives=[life(41_000_000, 11, 2)],
        log_lines=["x: y"],
        errors=[],
        left_out=["clock stepped: no compiler"],
        traffic="none",
        machine="2 cores.",
    )
    text = lines(result)
    assert "| prosody1 killed | 2 | 4.0 | 4.0 | 7.0 | - | - | - | 3.0 | 3.0 | 1 | 1 |" in text
    assert "| prosody1-exporter | 100 | 40.0 | 41.0 | 10 | 11 | 2 | 2 |" in text
    assert "**3 things were wrong:**" in text
    assert result.wrong == ["a lie", "prosody1 killed: it ended", "in a log: x: y"]
