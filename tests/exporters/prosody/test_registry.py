"""Prosody's own metrics, as two real servers rendered them and with every defect they may have, come out clean."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.prosody.collector import is_ours
from exporters.prosody.registry import Registry, parse_registry, renew
from tests.exporters.prosody.exposition import Series, complaints, series
from tests.exporters.prosody.fakes import RECORDED
from toolkit.scrape import TargetError


def clean(text: str, left_out: int = 0) -> dict[Series, float]:
    """Everything that comes out, rendered and read back."""
    families, lost = parse_registry(Registry(text), is_ours)
    assert lost == left_out
    return series(families)


def values(text: str, left_out: int = 0) -> list[str]:
    """The values of the label that all series have."""
    return [labels[0][1] for _, labels in clean(text, left_out)]


def family(*samples: str, kind: str = "gauge", name: str = "prosody_demo", help: str = "A demo.") -> str:  # noqa: A002 - the format's word
    return "".join(
        f"{line}\n" for line in (f"# HELP {name} {help}", f"# UNIT {name} ", f"# TYPE {name} {kind}", *samples)
    )


# What real servers say ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["13.0.1", "13.0.7"])
def recorded(request: pytest.FixtureRequest) -> str:
    return (RECORDED / f"prosody-{request.param}-registry.txt").read_text()


def test_every_sample_of_a_real_server_passes_through(recorded: str) -> None:
    samples = [line for line in recorded.splitlines() if not line.startswith("#") and "_created" not in line]
    assert len(samples) > 90
    assert len(clean(recorded)) == len(samples)


def test_values_of_a_real_server_are_right(recorded: str) -> None:
    seen = clean(recorded)
    host = (("host", "commeazy.com"),)
    assert seen["prosody_mod_smacks__sessions_started_total", host] == 8
    assert seen["prosody_mod_smacks__tx_acked_stanzas_bucket", (*host, ("le", "1"))] == 18
    assert seen["prosody_mod_csi__state_sessions", (("csi_state", "active"), *host)] == 0
    assert seen["prosody_mod_c2s__encrypted_total", (("cipher", "TLS_AES_128_GCM_SHA256"), ("protocol", "TLSv1.3"))] > 0


def test_a_real_servers_escapes_are_undone(recorded: str) -> None:
    seen = {dict(labels)["value"]: n for (name, labels), n in clean(recorded).items() if "scratch" in name}
    assert seen == {'say "hi"': 1, "back\\slash": 2, "two\nlines": 3, "plain": 4}


def test_families_without_samples_are_left_away_and_not_counted_as_lost(recorded: str) -> None:
    families, left_out = parse_registry(Registry(recorded), is_ours)
    assert "# HELP prosody_dns_seconds" in recorded
    assert "prosody_dns_seconds" not in {family.name for family in families}
    assert left_out == 0


def test_every_family_has_help(recorded: str) -> None:
    assert re.search(r"^# HELP \S+ $", recorded, re.MULTILINE)
    assert all(family.documentation for family in parse_registry(Registry(recorded), is_ours)[0])


def test_promtool_finds_nothing_in_a_real_servers_metrics(recorded: str) -> None:
    assert complaints(parse_registry(Registry(recorded), is_ours)[0]) == []


def test_no_registry_is_no_families() -> None:
    assert parse_registry(Registry(""), is_ours) == ([], 0)
    assert parse_registry(Registry("# EOF\n"), is_ours) == ([], 0)


# Numbers --------------------------------------------------------------------------------------------------------------


def test_numbers_replace_those_of_the_text_where_they_stand(recorded: str) -> None:
    count = sum(1 for line in recorded.splitlines() if line and not line.startswith("#"))
    numbered = renew(Registry(recorded), "", " ".join(map(str, range(count))))
    assert numbered
    families, left_out = parse_registry(numbered, is_ours)
    assert left_out == 0
    lines = [line for line in recorded.splitlines() if line and not line.startswith("#")]
    for sample in (sample for family in families for sample in family.samples):
        line = lines[int(sample.value)]
        assert line.startswith(sample.name)
        assert all(f'{name}="' in line for name in sample.labels)
        assert all(value in line for value in sample.labels.values() if value.isalnum())
    unchanged, _ = parse_registry(Registry(recorded), is_ours)
    assert series(unchanged) == clean(recorded)


def test_numbers_find_their_samples_after_a_family_that_was_left_out_and_a_sample_that_was_dropped() -> None:
    text = (
        family("prosody_setting 1", name="prosody_setting")
        + family("prosody_demo_created 1.7e9", "prosody_demo_total 3", "prosody_demo_total 9", kind="counter")
        + family("prosody_broken one", name="prosody_broken")
        + family("prosody_last 4", name="prosody_last")
    )
    numbered = renew(Registry(text), "", "10 20 30 40 50 60")
    assert numbered
    families, left_out = parse_registry(numbered, is_ours)
    assert left_out == 2
    assert series(families) == {("prosody_demo_total", ()): 30, ("prosody_last", ()): 60}


@pytest.mark.parametrize("numbers", ["1 2 3", "1"])
def test_numbers_that_are_not_as_many_as_the_samples_are_refused(numbers: str) -> None:
    with pytest.raises(TargetError, match="where its metrics have 2 samples") as caught:
        renew(Registry(family("prosody_demo 1", 'prosody_demo{a="b"} 2')), "", numbers)
    assert caught.value.reason == "protocol_error"


# Labels -------------------------------------------------------------------------------------------------------------

AWKWARD = ['a "quoted" word', "back\\slash", "two\nlines", '\\"', "\\\\", "é🙂", "", "{a=b,c} 1 #", "\x85", "\u2028"]


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@pytest.mark.parametrize("value", AWKWARD)
def test_values_escaped_twice_lose_one_escape(value: str) -> None:
    assert values(family(f'prosody_demo{{jid="{escaped(escaped(value))}"}} 1')) == [value]


@pytest.mark.parametrize("value", AWKWARD[:3] + AWKWARD[5:])
def test_values_escaped_once_by_a_server_that_is_repaired_stay(value: str) -> None:
    assert values(family(f'prosody_demo{{jid="{escaped(value)}"}} 1')) == [value]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\0")))
def test_any_value_escaped_twice_comes_back(value: str) -> None:
    assert values(family(f'prosody_demo{{jid="{escaped(escaped(value))}"}} 1')) == [value]


# Names and families -------------------------------------------------------------------------------------------------


def test_the_time_of_creation_is_left_away() -> None:
    text = family("prosody_demo_created 1.7e9", "prosody_demo_total 3", kind="counter")
    assert clean(text) == {("prosody_demo_total", ()): 3}


def test_of_two_samples_of_one_series_one_stays() -> None:
    assert clean(family('prosody_demo{a="b"} 1', 'prosody_demo{a="b"} 2')) == {("prosody_demo", (("a", "b"),)): 1}


def test_of_two_families_of_one_name_the_first_stays() -> None:
    both = family("prosody_demo 1") + family("prosody_demo_total 2", kind="counter")
    assert clean(both, left_out=1) == {("prosody_demo", ()): 1}


def test_two_families_that_share_a_series_name_do_not_both_come_out() -> None:
    both = family("prosody_demo_total 1", kind="counter") + family("prosody_demo_total 2", name="prosody_demo_total")
    assert clean(both, left_out=1) == {("prosody_demo_total", ()): 1}


@pytest.mark.parametrize(
    "clashing",
    [
        family("prosody_setting 1", name="prosody_setting"),
        family("prosody_stanzas_total 1", name="prosody_stanzas", kind="counter"),
        family("prosody_stanzas_total 1", name="prosody_stanzas_total"),
        family("prosody_stanzas 1", name="prosody_stanzas"),
        family("prosody_websocket_ping_seconds_count 1", name="prosody_websocket_ping_seconds_count"),
        family("prosody_up 1", name="prosody_up"),
        family("prosody_exporter_build_info 1", name="prosody_exporter_build_info"),
        family("process_cpu_seconds_total 1", name="process_cpu_seconds", kind="counter"),
    ],
)
def test_one_of_prosodys_that_clashes_with_ours_is_left_out(clashing: str) -> None:
    assert clean(clashing + family("prosody_demo 1"), left_out=1) == {("prosody_demo", ()): 1}


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(family("prosody-demo 1", name="prosody-demo"), id="invalid name"),
        pytest.param(family("1prosody 1", name="1prosody"), id="name that starts with a digit"),
        pytest.param(family("prosody_demo one"), id="no number"),
        pytest.param(family("prosody_demo"), id="no value"),
        pytest.param(family('prosody_demo{a="b} 1'), id="unfinished label"),
        pytest.param(family('prosody_demo{a-b="c"} 1'), id="invalid label name"),
        pytest.param(family('prosody_demo{a="b",a="c"} 1'), id="label given twice"),
        pytest.param(family("prosody_demo_total -1", kind="counter"), id="negative counter"),
        pytest.param(family('prosody_demo_bucket{le="1"} 1', kind="histogram"), id="histogram without +Inf"),
        pytest.param(family("prosody_demo 1", kind="nonsense"), id="unknown type"),
    ],
)
def test_a_broken_family_costs_no_other(broken: str) -> None:
    around = family("prosody_before 1", name="prosody_before"), family("prosody_after 2", name="prosody_after")
    seen = clean(around[0] + broken + around[1] + "# EOF\n", left_out=1)
    assert seen == {("prosody_before", ()): 1, ("prosody_after", ()): 2}


def test_numbers_lua_writes_in_its_own_way_are_understood() -> None:
    seen = clean(family('prosody_demo{a="1"} inf', 'prosody_demo{a="2"} -nan', 'prosody_demo{a="3"} 1e+20'))
    assert [repr(value) for value in seen.values()] == ["inf", "nan", "1e+20"]


LINES = [f"# HELP prosody_{name} A demo." for name in ("a", "b", "a_total", "setting", "stanzas")]
LINES += [f"# TYPE prosody_{name} {kind}" for name in "ab" for kind in ("counter", "gauge", "histogram", "summary")]
LINES += [f"prosody_{name}{end} 1" for name in "ab" for end in ("", "_total", "_created", '{c="d"}')]
LINES += [f"prosody_{name}_count 1\nprosody_{name}_sum 1" for name in "ab"]
LINES += [f'prosody_{name}_bucket{{le="+Inf"}} 1\nprosody_{name}_count 1\nprosody_{name}_sum 1' for name in "ab"]
LINES += [f"# HELP prosody_a{end} A demo.\n# TYPE prosody_a{end} gauge" for end in ("_count", "_created", "_bucket")]
LINES += ["# EOF", "# UNIT prosody_a seconds", "prosody_stanzas_total 1", "prosody_setting 1"]


@given(st.lists(st.sampled_from(LINES) | st.text(max_size=9), max_size=20))
def test_whatever_the_registry_says_what_comes_out_is_clean(lines: list[str]) -> None:
    families, left_out = parse_registry(Registry("\n".join(lines)), is_ours)
    series(families)
    assert left_out >= 0
