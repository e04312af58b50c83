"""coturn's own endpoint is passed through, without anything personal."""

from __future__ import annotations

import pytest

from exporters.coturn import endpoint
from exporters.coturn.endpoint import EndpointError
from tests.coturn.fakes import page

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


async def test_what_is_no_metrics_is_told_in_one_line() -> None:
    for body, said in (("{not metrics", "does not speak"), (b"a 1\n" * (1 << 21), "more than")):
        async with page(body) as url:
            with pytest.raises(EndpointError, match=said):
                await endpoint.read(url)
    async with page("", status=500) as url:
        with pytest.raises(EndpointError, match="no answer from"):
            await endpoint.read(url)
    with pytest.raises(EndpointError, match="no answer from"):
        await endpoint.read(url)
