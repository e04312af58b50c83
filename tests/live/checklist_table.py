"""The checklist against real servers: one thing is broken, and exactly one item fails; a source is gone: it is unknown.

It is for `make checklist` and no part of `make test`: it takes half an hour, and a machine without load.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from lab.drill import faults, monitoring_faults, postgresql_faults, push_faults
from lab.fakes.providers import Mood
from lab.servers.prosody import DOMAIN
from tests.live import checklist_faults as ways
from tests.live.checklist_lab import stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from check.judging import Finding
    from tests.live.checklist_lab import Stage

    Way = Callable[[Stage], AbstractContextManager[None]]

pytestmark = pytest.mark.timeout(1800)


@dataclass(frozen=True)
class Break:
    """How one item is broken.

    Args:
        item: its id.
        breaking: does it on entering and undoes it on leaving.
        also: what cannot but fail with it, and why.
    """

    item: str
    breaking: Way
    also: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Away:
    """A source that is away.

    Args:
        source: what it is.
        breaking: takes it away on entering and brings it back on leaving.
        items: that nobody can judge then, by id.
    """

    source: str
    breaking: Way
    items: str


_PLAIN = (
    'INSERT INTO prosody (host, "user", store, key, type, value) '
    "VALUES ('{0}', 'plain', 'accounts', 'password', 'string', 'x')"
)
_NO_PLAIN = "DELETE FROM prosody WHERE \"user\" = 'plain'"
_KEPT = (
    'INSERT INTO prosodyarchive (host, "user", store, key, "when", "with", type, value) '
    "VALUES ('{0}', 'alice', 'archive', 'a', 1, 'b', 'xml', '<message/>')"
)
# Without the user's own copy: it waits for that before it does anything else.
_TO_OTHERS = 'stanza.name == "presence" and stanza.attr.to and stanza.attr.to ~= stanza.attr.from'
BREAKS = (
    Break("A1", ways.old_prosody),
    Break("A2", lambda stage: faults.killed(stage.lab.replica)),
    Break("A3", lambda stage: postgresql_faults.replica_behind(stage.lab)),
    Break("A4", ways.maintenance),
    Break("A6", ways.open_port),
    Break("A7", ways.answering("192.0.2.99", 60)),
    Break("A8", ways.answering("192.0.2.10", 3600)),
    Break("B1", ways.expired),
    Break("B2", ways.unit("certbot.timer", ActiveState="inactive")),
    Break("B3", ways.old_tls("tls1", "-tls1", "-cipher", "ALL:@SECLEVEL=0")),
    Break("B4", ways.old_tls("cbc", "-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA256")),
    Break("B5", ways.reloaded("c2s_require_encryption = false")),
    Break("B6", ways.reloaded("s2s_require_encryption = false")),
    Break("B7", ways.reloaded("allow_registration = true")),
    Break("C2", ways.rows(_PLAIN.format(DOMAIN), _NO_PLAIN)),
    Break("C4", ways.reloaded('admins = { "admin@commeazy.com" }')),
    Break("D1", ways.reloaded("network_settings = { read_timeout = 61 }")),
    Break("D2", ways.reloaded("smacks_hibernation_time = 31")),
    Break("D3", ways.dropping('stanza.attr.type == "unavailable"')),
    Break("D4", ways.dropping(_TO_OTHERS + ' and not stanza.attr.type and not stanza:get_child("show")')),
    Break("D5", ways.dropping('stanza.name == "presence" and stanza:get_child_text("show") == "away"')),
    Break(
        "E1",
        lambda stage: faults.killed(stage.lab.push_gateway),
        ("G1",),
        "what does not run cannot be scraped, either",
    ),
    Break("E2", ways.unit("push-gateway.service", Restart="no")),
    Break("E3", ways.unit("push-gateway.service", UnitFileState="disabled")),
    Break("E4", lambda stage: push_faults.spoiled(stage.lab, stage.lab.providers.key_path)),
    Break("E6", lambda stage: push_faults.providers(stage.lab, Mood(losing=1, losing_only="calls"))),
    Break("E7", lambda stage: push_faults.spoiled(stage.lab, stage.lab.providers.account_path)),
    Break("E9", lambda stage: push_faults.another_secret(stage.lab)),
    Break("E12", lambda stage: push_faults.providers(stage.lab, Mood(losing=1, losing_only="messages"))),
    Break("E13", ways.reloaded("push_notification_with_body = true")),
    Break("E14", ways.readable_key),
    Break("E15", ways.talkative),
    Break("F1", ways.coturn("no-stun")),
    Break("F2", ways.coturn("stun-only")),
    Break("F3", ways.turn('turn_external_secret = "another"')),
    Break("F4", ways.turn("turn_external_ttl = 3600")),
    Break("G1", ways.no_target),
    Break("G2", ways.missing_dashboard),
    Break("G3", ways.missing_rules),
    Break("G5", ways.not_rotated),
    Break("H5", ways.unit("push-gateway.service", ActiveEnterTimestampMonotonic="9000000")),
    Break("H7", ways.dropping('stanza.name == "message"')),
    Break("H8", lambda stage: push_faults.providers(stage.lab, Mood(delay=3.0))),
    Break("H9", lambda stage: faults.ballast(stage.lab.prosody, 100)),
    Break("I1", ways.old_backup),
    Break("J1", ways.archived),
    Break("J2", ways.rows(_KEPT.format(DOMAIN), "DELETE FROM prosodyarchive WHERE store = 'archive'")),
)
# Whatever is not scraped any more is FAIL in G1, too: it is what G1 is for.
SOURCES = (
    Away(
        "Prosody's exporter",
        lambda stage: faults.killed(stage.lab.nodes[0].exporter),
        "A1 B5 B6 B7 C2 C4 D1 D2 E6 E12 E13 F3 H9 J1",
    ),
    Away("PostgreSQL's exporters", lambda stage: faults.killed(*stage.lab.postgres_exporters), "A2 A3 I1"),
    Away("coturn's exporter", lambda stage: faults.killed(stage.lab.coturn_exporter), "F1 F2"),
    Away("the certificate exporter", lambda stage: faults.killed(stage.lab.certificate_exporter), "B1 B3 B4"),
    Away("the synthetic exporter", lambda stage: faults.killed(stage.lab.synthetic), "D3 D4 D5 F3 F4 H7"),
    Away("targets of HAProxy", lambda stage: monitoring_faults.no_targets(stage.lab, "haproxy"), "A4"),
    Away(
        "targets of the push gateway",
        lambda stage: monitoring_faults.no_targets(stage.lab, "push-gateway"),
        "E1 E2 E3 E4 E7 E9 E14 E15 H5 H8 H9",
    ),
    Away(
        "node exporters of the nodes",
        lambda stage: faults.killed(stage.nodes["prosody1"], stage.nodes["prosody2"]),
        "B2 E2 E3 E14 E15 G5 H5",
    ),
    Away("fresh facts of the nodes", ways.old_facts, "B2 E2 E3 E14 E15 G5 H5"),
    Away("node exporter of the monitoring host", lambda stage: faults.killed(stage.nodes["monitoring"]), "I1"),
    Away("the name server, whose port is one that must be open", lambda stage: faults.killed(stage.names), "A6 A7 A8"),
    Away("the database", ways.locked_out, "C2 J2"),
    Away("Grafana", ways.no_grafana, "G2"),
    Away("Prometheus", lambda stage: faults.killed(stage.lab.prometheus), "G1 G3 H9"),
)


@pytest.fixture(scope="module")
def broken() -> Iterator[Stage]:
    """Run the lab, all right; each test puts right what it breaks."""
    with stage() as made:
        made.until(_right)
        yield made


@contextmanager
def _repaired(breaking: AbstractContextManager[None]) -> Iterator[None]:
    """Repair also after a failure, so that the next item is judged by itself."""
    breaking.__enter__()
    try:
        yield
    finally:
        breaking.__exit__(None, None, None)


def _right(found: dict[str, Finding]) -> bool:
    return all(finding.status in ("ok", "YOURS") for finding in found.values())


@pytest.mark.parametrize("case", BREAKS, ids=lambda each: each.item)
def test_one_thing_broken_is_one_item_that_fails_and_repaired_it_is_right_again(broken: Stage, case: Break) -> None:
    began = time.monotonic()
    wanted = {case.item, *case.also}
    with _repaired(case.breaking(broken)):
        found = broken.until(lambda found: _with(found, "FAIL") == wanted)
        assert found[case.item].detail
        seen = time.monotonic() - began
        broken.until(lambda _: broken.recorded().get(case.item) == 0)
    broken.until(lambda found: not _with(found, "FAIL") and found[case.item].status == "ok")
    print(f"{case.item}: FAIL after {seen:.0f} s, {found[case.item]}")  # noqa: T201 - what make checklist shows


@pytest.mark.parametrize("away", SOURCES, ids=lambda each: each.source)
def test_what_a_source_that_is_away_would_show_is_unknown_and_never_right(broken: Stage, away: Away) -> None:
    needing = set(away.items.split())
    with _repaired(away.breaking(broken)):
        found = broken.until(lambda found: needing <= _with(found, "UNKNOWN"))
        assert _with(found, "FAIL") <= {"G1"}
        assert all(found[item].detail for item in needing)
        if broken.lab.prometheus.running:
            broken.until(lambda _: not needing & set(broken.recorded()))
    broken.until(lambda found: not _with(found, "FAIL") and all(found[item].status == "ok" for item in needing))
    print(f"{away.source} away: UNKNOWN {away.items}")  # noqa: T201 - as above


def _with(found: dict[str, Finding], status: str) -> set[str]:
    return {item for item, finding in found.items() if finding.status == status}
