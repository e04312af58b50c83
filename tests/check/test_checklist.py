"""The checklist as data: 68 items as Section 20 has them, each with all that its way of judging needs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from alerts.catalogue import KNOBS
from alerts.catalogue.prosody import NEW_ENOUGH
from check.client import HttpClient
from check.documents import PAGE, RULES, page, rules
from check.formats import FORMATS
from check.items import Item, checklist
from check.judging import Finding
from check.probes.run import probes
from check.prometheus import PrometheusApi
from check.site import load
from lab.running.workspace import ROOT
from tests.alerts.promql import selectors
from tests.live.checklist_table import BREAKS, SOURCES
from toolkit.documents import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

ITEMS = list(checklist().items.values())
COUNTS = {"A": 8, "B": 7, "C": 4, "D": 6, "E": 15, "F": 4, "G": 5, "H": 9, "I": 5, "J": 5}


def test_the_items_are_those_of_section_20_in_its_order() -> None:
    wanted = [f"{letter}{number}" for letter, count in COUNTS.items() for number in range(1, count + 1)]
    assert [item.id for item in ITEMS] == wanted
    assert len(wanted) == 68


def test_at_least_45_are_judged_by_a_machine() -> None:
    assert len([item for item in ITEMS if not item.attest]) >= 45


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.id)
def test_an_item_says_all_that_a_reader_and_a_judge_need(item: Item) -> None:
    assert item.text
    assert all(text.endswith(".") for text in (item.why, item.action, item.blind))
    assert bool(item.attest) != bool(item.expr or item.probe)
    assert bool(item.expr) == bool(item.needs)


@pytest.mark.parametrize("item", [item for item in ITEMS if item.expr], ids=lambda item: item.id)
def test_whatever_an_expression_reads_is_needed_or_the_item_would_be_right_without_it(item: Item) -> None:
    needed = {selector.name for need in item.needs for selector in selectors(need.selector)}
    read = {selector.name for selector in selectors(item.expr)} - {"up"}
    # Recorded from what is needed; a reason is there only where something is wrong.
    derived = {"instance_handler:push_latency_ms:p99", "ssl_certificate_verification_info"}
    assert read - derived <= needed


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.id)
def test_what_is_recorded_is_promql(item: Item) -> None:
    assert selectors(item.recorded)


def test_the_generated_files_are_up_to_date() -> None:
    assert RULES.read_text() == rules()
    assert PAGE.read_text() == page(PAGE.read_text())


def test_the_table_of_make_checklist_breaks_every_item_that_a_machine_judges() -> None:
    judged = [item.id for item in ITEMS if not item.attest]
    assert [each.item for each in BREAKS] == judged
    assert {item for away in SOURCES for item in away.items.split()} == set(judged), "and takes its source away"


def test_the_alert_on_the_version_and_the_item_want_the_same() -> None:
    assert f'version=~"{NEW_ENOUGH}"' in checklist().items["A1"].expr


def test_every_probe_that_an_item_names_exists_and_no_other() -> None:
    made = probes("nothing is known", PrometheusApi(HttpClient("http://127.0.0.1:1")), None)
    assert set(made) == {item.probe for item in ITEMS if item.probe}


def test_the_runbooks_that_are_named_exist() -> None:
    for item in ITEMS:
        for name in re.findall(r"(\w+)\.md", item.action):
            assert name in KNOBS or (ROOT / "docs" / f"{name}.md").is_file() or name == "README", (item.id, name)


def test_the_shipped_site_file_can_be_read() -> None:
    site = load(ROOT / "deploy" / "checklist.yml")
    assert site.names
    assert site.open
    assert site.closed
    assert "passfile=/etc/commeazy/" in site.database, "the timer's unit sees no home (ProtectHome=yes)"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("dns: {names: []}", "server must be given"),
        ("dns: {server: ns1, names: [{name: a, addresses: [b]}]}", "'b' is not an IP address"),
        ("dns: {server: ns1, names: [{name: a, addresses: []}]}", "at least one address"),
        ("dns: {server: ns1, names: [{name: a, addresses: [10.0.0.1], ttl: long}]}", "is not a duration"),
        ("ports: {open: [], closed: [a:1]}", "looks like a firewall"),
        ("ports: {open: [a], closed: [a:1]}", "is not an address"),
        ("ports: {open: [a:0], closed: [a:1]}", "must have a host and a port"),
        ("ports: {open: ['a..b:1'], closed: [a:1]}", "'a..b:1' has neither a host name nor an IP address"),
        ("dns: {server: 'ü:53', names: []}", "has neither a host name nor an IP address"),
        ("dns: {server: ns1, names: [{name: a., addresses: [10.0.0.1]}]}", "'a.' is not a host name in ASCII"),
        ("storage: {}", "must be a mapping with the keys"),
        ("storage: {database: a, directory: b}", "either `database` or `directory`"),
        (
            "storage: {database: 'postgresql://a:b@c/prosody'}",
            "must hold no password; name a file with it by passfile=",
        ),
        ("storage: {database: host=a password=b}", "must hold no password; name a file with it by passfile="),
        ("port: {}", "did you mean 'ports'?"),
    ],
)
def test_a_site_file_that_is_wrong_is_one_line_with_its_place(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "checklist.yml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}:1: ")
    assert why in str(caught.value)


_STRANGE = "<b>a | b</b> \\\\| [c](d) `e` *f*"


def _findings() -> list[Finding]:
    words: dict[str, str] = {"A1": "FAIL", "A2": "UNKNOWN", "A5": "STALE", "B1": "YOURS"}
    return [
        Finding(item, words.get(item.id, "ok"), _STRANGE if item.id in words else "")  # type: ignore[arg-type] # statuses
        for item in ITEMS[:20]
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_every_item_and_its_status_and_lets_nothing_through(name: str) -> None:
    text = FORMATS[name](_findings(), checklist().sections, 1_800_000_000)
    for item in ITEMS[:20]:
        assert item.id in text
    assert all(word in text for word in ("FAIL", "STALE", "UNKNOWN", "YOURS", "ok"))
    if name in ("html", "markdown"):
        assert "<b>a" not in text
        assert "2027-01-15" in text
    if name == "text":
        assert len(text.splitlines()) == 20
    if name == "json":
        assert len(yaml.safe_load(text)["items"]) == 20
    if name == "html":
        assert not re.search(r"""(?:src|href)=|@import|url\(""", text), "it needs nothing else"
    if name == "markdown":
        rows = [line for line in text.splitlines() if line.startswith("| A1 ")]
        cell = rows[0].split(" **FAIL** | ")[1].removesuffix(" |")
        assert re.sub(r"\\(.)", r"\1", cell) == _STRANGE.replace("<", "&lt;").replace(">", "&gt;")
        assert re.sub(r"\\.", "", rows[0]).replace("**FAIL**", "").count("|") == 5
        assert not re.search(r"[`*\[\]]", re.sub(r"\\.", "", cell)), "no markup of a stranger's"
