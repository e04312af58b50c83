"""Verdicts and lines: each is about what its alert is about, stands where the alert's threshold does, and says so."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import promql_parser as promql
import pytest
import yaml

from alerts.catalogue import GROUPS, KNOBS
from alerts.thresholds import DEFAULTS, load
from tests.alerts.promql import result_labels
from tests.dashboards.model import DATA_PANELS, Panel, plain, selectors, walk
from tests.dashboards.samples import LABELS
from toolkit.values import duration

RED, ORANGE, GROUND = "dark-red", "super-light-orange", "rgba(0, 0, 0, 0.28)"  # the ground of a trend
# Which alerts' thresholds each tile and each graph shows, written by hand: uid, panel, alerts from the mildest on.
LIMITS: dict[tuple[str, str], list[str]] = {
    ("promises", "Measured, least"): ["PromiseNotMeasured"],
    ("promises", "Burn that pages, fastest"): ["PromiseBurnsFast"],
    ("promises", "Measured"): ["PromiseNotMeasured"],
    ("promises", "Burn that pages, of its limit"): ["PromiseBurnsFast"],
    ("promises", "Burn that makes a ticket, of its limit"): ["PromiseBurnsSlowly"],
    ("promises", "Sessions per node if one fails"): ["ConnectionsHeadroomLow"],
    ("promises", "Sessions tomorrow, if they go on growing"): ["ProsodySessionsCriticalSoon"],
    ("prosody-overview", "Messages that do not arrive"): ["SyntheticMessagesFailing"],
    ("prosody-overview", "Logins that fail"): ["SyntheticLoginsFailing"],
    ("prosody-overview", "Tries made, of those configured"): ["SyntheticJourneysMissing"],
    ("presence-health", "Broken connections seen within 90 s"): ["SyntheticPresenceLate"],
    ("presence-health", "Silent phones seen within 160 s"): ["SyntheticPresenceLate"],
    ("presence-health", "Time until vanished users look offline"): ["PresenceBoundHigh"],
    ("coturn", "Packets lost"): ["SyntheticRelayLosesMedia"],
    ("coturn", "Tries to relay that fail"): ["SyntheticRelayLosesMedia"],
    ("coturn", "Credentials missing or refused"): ["SyntheticTurnCredentialsFailing"],
    ("prosody-overview", "Sessions"): ["ProsodySessionsHigh", "ProsodySessionsCritical"],
    ("prosody-overview", "Sessions, fullest node"): ["ProsodySessionsHigh", "ProsodySessionsCritical"],
    ("prosody-overview", "Stanzas/s"): ["ProsodyStanzaRateHigh"],
    ("prosody-overview", "Stanzas/s, busiest node"): ["ProsodyStanzaRateHigh"],
    ("prosody-overview", "Share of logins that fail"): ["ProsodyLoginsFail"],
    ("prosody-overview", "Event loop lag"): ["ProsodyEventLoopSlow"],
    ("presence-health", "Event loop lag"): ["ProsodyEventLoopSlow"],
    ("websocket-health", "Event loop lag"): ["ProsodyEventLoopSlow"],
    ("prosody-overview", "Memory"): ["ProsodyMemoryHigh"],
    ("prosody-overview", "Memory, largest node"): ["ProsodyMemoryHigh"],
    ("presence-health", "Longest read_timeout"): ["ProsodyReadTimeoutHigh"],
    ("websocket-health", "Certificate expires in"): ["CertificateExpiringSoon"],
    ("websocket-health", "Days left"): ["CertificateExpiringSoon"],
    ("push-gateway-health", "VoIP success, worst"): ["PushVoipFailuresHigh"],
    ("push-gateway-health", "FCM success, worst"): ["PushFcmFailuresHigh"],
    ("push-gateway-health", "Latency P99, worst"): ["PushLatencyHigh"],
    ("push-gateway-health", "Restarts in 10m, worst"): ["PushGatewayCrashLoop"],
    ("push-gateway-health", "VoIP: share that fails"): ["PushVoipFailuresHigh"],
    ("push-gateway-health", "FCM: share that fails"): ["PushFcmFailuresHigh"],
    ("push-gateway-health", "Latency"): ["PushLatencyHigh"],
    ("push-gateway-health", "Accepted pushes that wake nobody, worst"): ["PushesWakeNobody"],
    ("push-gateway-health", "Failed calls in 6h, worst"): ["PushCallsFailing"],
    ("push-gateway-health", "Memory"): ["PushGatewayMemoryHigh"],
    ("postgresql", "Streaming replicas"): ["PostgresReplicaMissing"],
    ("postgresql", "Streaming replicas of each primary"): ["PostgresReplicaMissing"],
    ("postgresql", "Replication lag"): ["PostgresReplicationLagHigh"],
    ("coturn", "Active allocations"): ["CoturnAllocationsHigh"],
    ("coturn", "Most allocations"): ["CoturnAllocationsHigh"],
    ("coturn", "Quota used, worst node"): ["CoturnQuotaNearlyUsed"],
    ("coturn", "Share of the quota in use"): ["CoturnQuotaNearlyUsed"],
    ("haproxy", "Prosody nodes in use"): ["HaproxyBackendNodesLow"],
    ("haproxy", "Connections used, most"): ["HaproxyConnectionsHigh"],
    ("haproxy", "Share of connections in use"): ["HaproxyConnectionsHigh"],
    ("haproxy", "Retried connections, 10m"): ["HaproxyRetriesHigh"],
    ("haproxy", "5xx answers, worst"): ["HaproxyErrorsHigh"],
    ("haproxy", "Share of 5xx answers, 5m"): ["HaproxyErrorsHigh"],
    ("postgresql", "Connections used, most"): ["PostgresConnectionsHigh"],
    ("postgresql", "Share of connections in use"): ["PostgresConnectionsHigh"],
    ("postgresql", "Longest transaction"): ["PostgresTransactionLong"],
    ("postgresql", "Age of the last archived WAL"): ["PostgresArchiveOld"],
    ("hosts", "Disk free, least"): ["HostDiskSpaceLow", "HostDiskFull"],
    ("hosts", "Disk free"): ["HostDiskSpaceLow", "HostDiskFull"],
    ("hosts", "Files free"): ["HostDiskSpaceLow"],
    ("hosts", "Time until a disk is full, by the last hour"): ["HostDiskFullSoon"],
    ("hosts", "Time until a disk is full, by the last 6 hours"): ["HostDiskFilling"],
    ("hosts", "Memory available, least"): ["HostMemoryLow"],
    ("hosts", "Memory available"): ["HostMemoryLow"],
    ("hosts", "CPU limit used, most"): ["HostProcessorBusy"],
    ("hosts", "Processors in use"): ["HostProcessorBusy"],
    ("hosts", "Processor time taken by other machines"): ["HostProcessorBusy"],
    ("hosts", "Age of the last base backup"): ["PostgresBackupOld"],
    ("hosts", "Time since the last restore test"): ["PostgresRestoreTestOld"],
    ("hosts", "Age of the newest log line"): ["HostLogSilent"],
    ("hosts", "Restarts in 15 minutes"): ["HostUnitRestarts"],
    ("hosts", "Clock offset"): ["HostClockWrong"],
    ("hosts", "Network traffic"): ["HostNetworkBusy"],
    ("hosts", "Connection table in use"): ["HostConntrackNearlyFull"],
    ("hosts", "Open files"): ["HostFilesNearlyUsed"],
}
# Tiles of things of which one is enough, by the alert that says how bad it is: no threshold, bad from 1 on.
COUNTED = {
    ("prosody-overview", "Unsafe settings"): "ProsodyStoresMessages",
    ("websocket-health", "Certificates not trusted"): "CertificateNotTrusted",
    ("websocket-health", "Old certificate served"): "CertificateNotReloaded",
    ("coturn", "Refused: no relay port"): "CoturnPortsExhausted",
    ("hosts", "Failed units"): "HostUnitFailed",
}
# The columns of tables whose cells have the colour that the alert would give them.
COLUMNS: dict[tuple[str, str], list[str]] = {
    ("prosody-overview", "sessions"): ["ProsodySessionsHigh", "ProsodySessionsCritical"],
    ("prosody-overview", "stanzas/s"): ["ProsodyStanzaRateHigh"],
    ("prosody-overview", "memory"): ["ProsodyMemoryHigh"],
    ("prosody-overview", "lag"): ["ProsodyEventLoopSlow"],
    ("prosody-overview", "bad logins"): ["ProsodyLoginsFail"],
    ("presence-health", "timeout"): ["ProsodyReadTimeoutHigh"],
    ("presence-health", "ack delay"): ["ProsodyAckDelayHigh"],
    ("presence-health", "hibernate"): ["ProsodyHibernationTimeHigh"],
    ("push-gateway-health", "VoIP bad"): ["PushVoipFailuresHigh"],
    ("push-gateway-health", "FCM bad"): ["PushFcmFailuresHigh"],
    ("push-gateway-health", "P99"): ["PushLatencyHigh"],
    ("push-gateway-health", "memory"): ["PushGatewayMemoryHigh"],
    ("postgresql", "replicas"): ["PostgresReplicaMissing"],
    ("postgresql", "lag"): ["PostgresReplicationLagHigh"],
    ("coturn", "allocs"): ["CoturnAllocationsHigh"],
    ("coturn", "quota"): ["CoturnQuotaNearlyUsed"],
    ("haproxy", "in use"): ["HaproxyBackendNodesLow"],
    ("haproxy", "5xx"): ["HaproxyErrorsHigh"],
    ("promises", "page"): ["PromiseBurnsFast"],
    ("promises", "ticket"): ["PromiseBurnsSlowly"],
    ("promises", "known"): ["PromiseNotMeasured"],
    ("haproxy", "conns"): ["HaproxyConnectionsHigh"],
    ("postgresql", "conns"): ["PostgresConnectionsHigh"],
    ("postgresql", "longest"): ["PostgresTransactionLong"],
    ("hosts", "disk free"): ["HostDiskSpaceLow", "HostDiskFull"],
    ("hosts", "mem free"): ["HostMemoryLow"],
    ("hosts", "cpu limit"): ["HostProcessorBusy"],
    ("hosts", "clock off"): ["HostClockWrong"],
}
# Columns of what one is enough for, by the alert that says how bad it is.
COUNTED_COLUMNS = {("hosts", "failed"): "HostUnitFailed", ("haproxy", "waiting"): "HaproxyRequestsWait"}
# Columns that say NO, or another word, where this alert fires.
WORDS = {
    ("prosody-overview", "registration"): "ProsodyRegistrationOpen",
    ("websocket-health", "pings"): "ProsodyProbeFails",
    ("websocket-health", "can log in"): "ProsodyWebSocketLoginsImpossible",
    ("websocket-health", "enough"): "CertificateExpiringSoon",
    ("websocket-health", "trusted"): "CertificateNotTrusted",
    ("websocket-health", "probed"): "CertificateProbeFailed",
    ("push-gateway-health", "ready"): "PushProviderUnreachable",
}
# Of an alert that compares several things, each with a limit of its own: shares of these limits, bad above 100 %.
OF_LIMIT = {
    ("promises", "Burn that pages, fastest"),
    ("promises", "Burn that pages, of its limit"),
    ("promises", "Burn that makes a ticket, of its limit"),
    ("promises", "page"),
    ("promises", "ticket"),
    ("hosts", "CPU limit used, most"),
    ("hosts", "cpu limit"),
}
SECOND = {("hosts", "Processor time taken by other machines")}  # drawn at the alert's `share`, not at its value
# Alerts whose every series a verdict must ask for, because any of them alone can make the alert fire, or keep it back.
# What is left out says which node it is, not whether it fires.
COMPLETE = {"PromiseBurnsFast", "PromiseNotMeasured", "HostProcessorBusy", "HostDiskSpaceLow", "HostDiskFull"}
NAMES_A_NODE = "slo:explained_by:bool"
SUCCESSES = {"VoIP success, worst", "FCM success, worst"}  # 1 minus what the alert watches
FILE = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))
THRESHOLDS = load(KNOBS)
EXPR = {alert.name: alert.expr.replace("<window>", "5m") for alerts in GROUPS.values() for alert in alerts}
COLOURS = {"critical": RED, "warning": ORANGE}


def _place(panel: Panel) -> tuple[str, str]:
    return panel.uid, panel.json["title"]


STATS = [panel for panel in DATA_PANELS if panel.json["type"] == "stat"]
VERDICTS = [panel for panel in STATS if _place(panel) in {*LIMITS, *COUNTED}]
SERIES = [panel for panel in DATA_PANELS if panel.json["type"] == "timeseries"]
TABLES = [panel for panel in DATA_PANELS if panel.json["type"] == "table"]


def _limit(alert: str, place: tuple[str, str]) -> float:
    if place in OF_LIMIT:
        return 1
    value: float = FILE[alert]["share" if place in SECOND else "value"]
    return 1 - value if place[1] in SUCCESSES else value


def _in_words(alert: str, place: tuple[str, str]) -> str:
    """Return a limit as a person reads it."""
    if place in OF_LIMIT or place in SECOND or place[1] in SUCCESSES:
        return f"{_limit(alert, place) * 100:g} %"
    return THRESHOLDS[alert].limit


def _fires_below(alert: str, place: tuple[str, str] = ("", "")) -> bool:
    return place[1] in SUCCESSES or "< <value>" in EXPR[alert]


def _choices(panel: Panel) -> list[tuple[str, str]]:
    """Return the verdicts of a tile in the order in which they are tried, each with its query."""
    verdict = panel.json["targets"][0]["expr"].split(") * on () group_left (share) ")[0].removeprefix("(label_")
    tried = f"label_{verdict.removeprefix('label_')}".split(" or on () ")
    return [(word, expr) for expr, word in (re.fullmatch(_NAMED, each, re.DOTALL).groups() for each in tried)]  # type: ignore[union-attr]


_NAMED = r'label_replace\((.*), "verdict", "([^"]+)", "", ""\)'


def _number(panel: Panel) -> str:
    """Return the query whose number a tile judges."""
    return plain(_target(panel, "trend")["expr"])


def _target(panel: Panel, legend: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = (target for target in panel.json["targets"] if target["legendFormat"] == legend)
    return found


# --- Where the limits are --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("panel", STATS, ids=lambda panel: panel.name)
def test_a_tile_with_a_verdict_has_the_limits_of_its_alerts_the_worst_first(panel: Panel) -> None:
    if not panel.json["targets"][0]["legendFormat"].startswith("{{verdict}}"):
        return
    place, expr = _place(panel), _target(panel, "trend")["expr"]
    told = [(word, test) for word, test in _choices(panel) if word in ("CRITICAL", "WARNING")]
    if place in COUNTED:
        expected = [(FILE[COUNTED[place]]["severity"].upper(), f"({expr}) >= 1")]
    else:
        expected = [
            (
                FILE[alert]["severity"].upper(),
                f"({expr}) {'<' if _fires_below(alert, place) else '>'} {_limit(alert, place):g}",
            )
            for alert in reversed(LIMITS.get(place, []))
        ]
    assert told == expected


@pytest.mark.parametrize("panel", SERIES, ids=lambda panel: panel.name)
def test_a_line_is_drawn_at_every_limit_of_a_graph(panel: Panel) -> None:
    defaults = panel.json["fieldConfig"]["defaults"]
    expected = sorted(_limit(alert, _place(panel)) for alert in LIMITS.get(_place(panel), []))
    if "negative-Y" in str(defaults) + str(panel.json["fieldConfig"]["overrides"]):  # what is sent is drawn below zero
        expected = sorted(expected + [-each for each in expected])
    assert [step["value"] for step in defaults["thresholds"]["steps"][1:]] == expected
    assert defaults["custom"]["thresholdsStyle"]["mode"] == ("dashed" if expected else "off")
    assert defaults["thresholds"]["mode"] == "absolute"


@pytest.mark.parametrize("panel", TABLES, ids=lambda panel: panel.name)
def test_a_cell_has_the_colour_that_its_alerts_would_give_it(panel: Panel) -> None:
    for override in panel.json["fieldConfig"]["overrides"]:
        properties = {each["id"]: each["value"] for each in override["properties"]}
        place = panel.uid, override["matcher"]["options"]
        alerts = COLUMNS.get(place, [])
        steps = [(step["value"], step["color"]) for step in properties.get("thresholds", {}).get("steps", [])]
        limits = [_limit(alert, place) for alert in alerts]
        colours = [COLOURS[FILE[alert]["severity"]] for alert in alerts]
        if alerts and _fires_below(alerts[0]):
            expected = list(zip([None, *reversed(limits)], [*reversed(colours), "transparent"], strict=True))
        elif alerts:
            expected = list(zip([None, *limits], ["transparent", *colours], strict=True))
        elif one := COUNTED_COLUMNS.get(place):
            expected = [(None, "transparent"), (1, COLOURS[FILE[one]["severity"]])]
        else:
            expected = []
        assert steps == expected, place
        # A step of Grafana's begins at its value; an alert that fires above its threshold does not fire at it.
        at_the_edge = {
            key: result["color"]
            for mapping in properties.get("mappings", ())
            if mapping["type"] == "value" and "thresholds" in properties
            for key, result in mapping["options"].items()
        }
        edges = dict(zip((f"{limit:.15g}" for limit in limits), ["transparent", *colours], strict=False))
        assert at_the_edge == ({} if not alerts or _fires_below(alerts[0]) else edges), place


@pytest.mark.parametrize(
    ("place", "alert"), WORDS.items(), ids=lambda each: each if isinstance(each, str) else " ".join(each)
)
def test_a_word_has_the_colour_of_its_alert_and_its_column_asks_for_what_the_alert_does(
    place: tuple[str, str], alert: str
) -> None:
    ((cell, target),) = (
        (override, target)
        for panel in TABLES
        if panel.uid == place[0]
        for override in panel.json["fieldConfig"]["overrides"]
        for target in panel.json["targets"]
        if override["matcher"]["options"] == target["legendFormat"] == place[1]
    )
    mappings = next(p["value"] for p in cell["properties"] if p["id"] == "mappings")
    colours = {result["color"] for result in mappings[-1]["options"].values()}
    assert colours == {"transparent", COLOURS[FILE[alert]["severity"]]}
    assert {name for name, _ in _asked(EXPR[alert])} - {"prosody_up", "push_credentials_valid"} <= {
        name for name, _ in _asked(plain(target["expr"]))
    }


def _judged(panel: Panel) -> list[tuple[str, str]]:
    """Return the queries of a panel that give a verdict or a colour, each with its alert."""
    told = [(alert, _number(panel)) for alert in LIMITS.get(_place(panel), ()) if panel in VERDICTS]
    for target in panel.json["targets"]:
        told += [(alert, plain(target["expr"])) for alert in COLUMNS.get((panel.uid, target["legendFormat"]), ())]
    return told


def _with_a_minimum(panel: Panel) -> list[tuple[str, str]]:
    """Return those whose alert needs so many events; the seconds of measuring are of all history."""
    return [
        (alert, expr)
        for alert, expr in _judged(panel)
        if FILE[alert].get("minimum_of") not in (None, "seconds of measuring")
    ]


@pytest.mark.parametrize(
    "panel", [panel for panel in (*STATS, *TABLES) if _with_a_minimum(panel)], ids=lambda panel: panel.name
)
def test_what_is_too_little_for_an_alert_is_not_judged(panel: Panel) -> None:
    for alert, expr in _with_a_minimum(panel):
        assert f">= {FILE[alert]['minimum']}" in expr
        assert f"<= {FILE[alert]['value']:g} or " in expr, "what is fine is shown, however little it is"
        _, *counted = _asked(EXPR[alert])
        assert counted
        assert set(counted) <= set(_asked(expr))


def test_every_limit_in_the_tables_above_is_of_a_panel_that_there_is() -> None:
    assert {*LIMITS, *COUNTED} <= {_place(panel) for panel in (*STATS, *SERIES)}
    headings = {(p.uid, o["matcher"]["options"]) for p in TABLES for o in p.json["fieldConfig"]["overrides"]}
    assert {*COLUMNS, *COUNTED_COLUMNS} <= headings


def test_every_alert_with_a_threshold_is_drawn_somewhere() -> None:
    drawn = {alert for alerts in (*LIMITS.values(), *COLUMNS.values()) for alert in alerts}
    # About Prometheus and Alertmanager, which no dashboard of the service shows.
    drawn |= {"AlertmanagerNotificationsFailing", "TargetFlapping"}
    assert drawn == {alert for alert, knobs in KNOBS.items() if "value" in knobs}


@pytest.mark.parametrize("panel", [*VERDICTS, *SERIES], ids=lambda panel: panel.name)
def test_a_description_says_the_limit(panel: Panel) -> None:
    said = panel.json["description"].lower()
    for alert in LIMITS.get(_place(panel), ()):
        limit = _in_words(alert, _place(panel)).lower()
        below = _fires_below(alert, _place(panel))
        assert f"{FILE[alert]['severity']} {'below' if below else 'above'} {limit}" in said
    if _place(panel) in COUNTED:
        assert f"{FILE[COUNTED[_place(panel)]]['severity']} from 1 on." in said


# --- What a verdict is about -----------------------------------------------------------------------------------------


def _asked(expr: str) -> list[tuple[str, frozenset[tuple[str, str]]]]:
    """Return what an expression asks for, apart from the node."""
    expr = re.sub(r"<\w+>", "1", expr)
    return [
        (found.name, frozenset((m.name, m.value) for m in found.matchers.matchers if m.name != "instance"))
        for found, _ in selectors(expr)
    ]


@pytest.mark.parametrize("panel", VERDICTS, ids=lambda panel: panel.name)
def test_a_verdict_is_about_the_series_of_its_alert(panel: Panel) -> None:
    asked = _asked(_number(panel))
    for alert in LIMITS.get(_place(panel), ()):
        first, *others = _asked(EXPR[alert])
        assert first in asked
        if alert in COMPLETE:
            told = {name for name, _ in asked}
            told |= {"slo:measured:seconds"} if "slo:verdict:bool" in told else set()
            assert {name for name, _ in others if name != NAMES_A_NODE} <= told, alert
    if _place(panel) in COUNTED:
        assert _asked(EXPR[COUNTED[_place(panel)]])[0][0] in {name for name, _ in asked}


@pytest.mark.parametrize("panel", VERDICTS, ids=lambda panel: panel.name)
def test_a_verdict_looks_back_as_far_as_its_alert_on_every_screen_and_time_range(panel: Panel) -> None:
    for node, _ in walk(promql.parse(_number(panel))):
        if isinstance(node, promql.MatrixSelector):
            (alert,) = LIMITS.get(_place(panel)) or [COUNTED[_place(panel)]]
            assert node.range == timedelta(seconds=duration(FILE[alert]["window"]))


@pytest.mark.parametrize("panel", TABLES, ids=lambda panel: panel.name)
def test_a_cell_with_a_colour_looks_back_as_far_as_its_alert(panel: Panel) -> None:
    for target in panel.json["targets"]:
        place = panel.uid, target["legendFormat"]
        for node, _ in walk(promql.parse(plain(target["expr"]))):
            if isinstance(node, promql.MatrixSelector) and place in {*COLUMNS, *WORDS}:
                (alert,) = COLUMNS.get(place) or [WORDS[place]]
                assert node.range == timedelta(seconds=duration(FILE[alert]["window"]))


@pytest.mark.parametrize("panel", VERDICTS, ids=lambda panel: panel.name)
def test_a_verdict_is_one_number_and_that_of_the_worst_node(panel: Panel) -> None:
    expr = _number(panel)
    assert result_labels(expr, LABELS) == frozenset()
    outermost = next(str(node.op) for node, _ in walk(promql.parse(expr)) if isinstance(node, promql.AggregateExpr))
    for alert in LIMITS.get(_place(panel), ()):
        counts = EXPR[alert].lstrip("(\n ").startswith("count")
        assert outermost == ("count" if counts else "min" if _fires_below(alert) else "max")
    assert _place(panel) not in COUNTED or outermost in ("count", "sum")


@pytest.mark.parametrize("panel", VERDICTS, ids=lambda panel: panel.name)
def test_a_tile_says_how_much_of_its_limit_a_number_is_and_nothing_of_what_is_not_known(panel: Panel) -> None:
    verdict, number = panel.json["targets"][0], _target(panel, "trend")["expr"]
    said = next(
        p["value"] for o in panel.json["fieldConfig"]["overrides"] for p in o["properties"] if p["id"] == "displayName"
    )
    if _place(panel) in COUNTED:
        assert said == "limit 0"
        assert "count_values" not in verdict["expr"], "there is no share of none"
        return
    nearest = LIMITS[_place(panel)][0]
    limit = _in_words(nearest, _place(panel))
    below = _fires_below(nearest, _place(panel))
    if below or _place(panel) in OF_LIMIT or FILE[nearest]["unit"] == "ratio":
        # The number is a share itself, or 643 % of what is needed at least, which is good and reads as bad.
        assert said == f"at least {limit}" if below else f"limit {limit}"
        assert "count_values" not in verdict["expr"]
        return
    assert said == f"of {limit}"
    share = verdict["expr"].split(" * on () group_left (share) ")[1]
    whole = FILE[nearest]["value"]
    assert f'count_values("share", round(100 * (((({number}) > -Inf) < {10 * whole:g}) unless on () (' in share
    assert f" / {whole:g}))" in share
    assert share.endswith(" or on () vector(1))")
    assert verdict["legendFormat"] == "{{verdict}}{{share}}"
    assert verdict["instant"]


# --- In words and colours --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("panel", VERDICTS, ids=lambda panel: panel.name)
def test_what_does_not_answer_comes_before_all_but_critical_and_no_data_is_a_verdict(panel: Panel) -> None:
    words = [word for word, _ in _choices(panel)]
    (down,) = {*words} & {"NODE DOWN", "PROBE FAILED", "NOT MEASURED"}
    assert {*words[: words.index(down)]} <= {"CRITICAL"}
    assert words[-1] == "NO DATA"
    assert words.index("OK") > max(words.index(word) for word in words if word in ("CRITICAL", "WARNING"))
    assert dict(_choices(panel))["OK"] == f"({_target(panel, 'trend')['expr']}) > -Inf", "NaN is not OK"
    overrides = {
        o["matcher"]["options"].removeprefix("/^").removesuffix("/"): o["properties"][0]["value"]["fixedColor"]
        for o in panel.json["fieldConfig"]["overrides"]
        if o["matcher"]["id"] == "byRegexp" and o["properties"][0]["id"] == "color"
    }
    idle = [word for word in words[:-1] if word not in (down, "CRITICAL", "WARNING", "OK")]
    quiet = dict.fromkeys(["OK", *idle], "transparent")
    loud = {down: RED, "CRITICAL": RED, "WARNING": ORANGE, "NO DATA": RED}
    assert overrides == quiet | loud
    assert panel.json["fieldConfig"]["defaults"]["noValue"] == "NO DATA", "what is shown when the query fails"


@pytest.mark.parametrize("panel", STATS, ids=lambda panel: panel.name)
def test_a_tile_shows_what_is_now_and_fills_its_panel_with_the_colour(panel: Panel) -> None:
    now, *others = panel.json["targets"]
    assert now["instant"], "an old value would outlive its node"
    trends = [other for other in others if not other["instant"]]
    grounds = {
        o["matcher"]["options"]: {m["options"]["result"]["color"] for m in p["value"]}
        for o in panel.json["fieldConfig"]["overrides"]
        for p in o["properties"]
        if p["id"] == "mappings" and p["value"][0]["options"]["result"].get("text") == " "
    }
    assert [trend["refId"] for trend in trends] == list(grounds), "the number of a trend may be as old as one step"
    assert all(colours == {GROUND} for colours in grounds.values()), "a white trend cannot be seen on a light page"
    assert [trend["legendFormat"] for trend in trends] in ([], ["trend"])
    # From Grafana 10 on lastNotNull takes NaN for null: a gateway without work would show NO DATA.
    assert panel.json["options"]["reduceOptions"] == {"calcs": ["last"], "fields": "", "values": False}
    assert panel.json["options"]["colorMode"] == "background"
