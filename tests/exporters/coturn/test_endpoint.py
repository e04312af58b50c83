"""coturn's own endpoint is passed through, without anything personal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from prometheus_client import generate_latest

from exporters.coturn import endpoint
from exporters.coturn.endpoint import BuiltInEndpointError
from lab.running.workspace import ROOT
from tests.exporters.coturn.fakes import page

if TYPE_CHECKING:
    from prometheus_client.core import Metric

RECORDED = """\
# HELP stun_binding_request Incoming STUN Binding requests
# TYPE stun_binding_request counter
stun_binding_request 41
# HELP turn_traffic_rcvb Represents finished sessions received bytes
# TYPE turn_traffic_rcvb counter
turn_traffic_rcvb{realm="commeazy.com",user="1795577381:alice"} 1612
# HELP turn_total_traffic_rcvb Represents total finished sessions received bytes
# TYPE turn_total_traffic_rcvb counter
turn_total_traffic_rcvb 1612
# HELP turn_total_allocations Represents current allocations number
# TYPE turn_total_allocations gauge
turn_total_allocations{type="UDP"} 3
turn_total_allocations{type="TLS/TCP"} 2
# HELP process_open_fds Number of open file descriptors.
# TYPE process_open_fds gauge
process_open_fds 40
"""


def rendered(family: Metric) -> list[str]:
    """The lines of a page with this family."""
    return generate_latest(Registry([family])).decode().splitlines()


class Registry:
    """What generate_latest takes, with these families."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


async def test_its_families_pass_without_users_and_without_the_process() -> None:
    async with page(RECORDED) as url:
        families = await endpoint.read(url)
    assert {family.name for family in families} == {
        "stun_binding_request",
        "turn_total_traffic_rcvb",
        "turn_total_allocations",
    }
    assert endpoint.total(families, "turn_total_allocations") == 5
    assert endpoint.total(families, "turn_total_allocations", type="UDP") == 3
    assert endpoint.total(families, "stun_binding_request") == 41
    assert endpoint.total(families, "missing") is None


def test_a_real_answer_passes_under_the_names_it_has() -> None:
    text = (ROOT / "tests/recorded/coturn-4.17.1.prom").read_text()
    families = endpoint.parse(text)
    theirs = {line for line in text.splitlines() if line.startswith(("turn_", "stun_"))}
    shown = {line for family in families for line in rendered(family) if not line.startswith("#")}
    assert {re.sub(r"[ ,}].*", "", line) for line in shown} == {re.sub(r"[ ,}].*", "", line) for line in theirs}
    assert len(shown) == len(theirs)
    assert endpoint.total(families, "stun_binding_request") == 4


async def test_a_value_that_is_no_number_is_passed_through_and_not_believed() -> None:
    for value in ("NaN", "+Inf"):
        text = RECORDED.replace('{type="UDP"} 3', f'{{type="UDP"}} {value}').replace("request 41", f"request {value}")
        families = endpoint.parse(text)
        assert endpoint.total(families, "turn_total_allocations") is None
        assert endpoint.total(families, "stun_binding_request") is None
        assert any(value in line for family in families for line in rendered(family))


async def test_what_is_no_metrics_is_reported_in_one_line() -> None:
    for body, said in (("{not metrics", "does not speak"), (b"a 1\n" * (1 << 21), "more than")):
        async with page(body) as url:
            with pytest.raises(BuiltInEndpointError, match=said):
                await endpoint.read(url)
    async with page("", status=500) as url:
        with pytest.raises(BuiltInEndpointError, match="no answer from"):
            await endpoint.read(url)
    with pytest.raises(BuiltInEndpointError, match="no answer from"):
        await endpoint.read(url)
