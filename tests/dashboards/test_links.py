"""Where links lead: among the dashboards, to the runbooks, and from each alert to its dashboard and node."""

from __future__ import annotations

import re
from typing import Any

import promql_parser as promql
import pytest
import yaml

from alerts.catalogue import GROUPS, Alert
from alerts.jobs import JOBS
from alerts.render import Links
from check.panels import ALL, filled_in
from tests.alerts.promql import selectors
from tests.dashboards.model import DASHBOARDS, DATA_PANELS, FOLDER, PAGES, all_panels, plain
from tests.dashboards.samples import JOB_OF, RECORDINGS, jobs_of

RUNBOOKS = FOLDER.parent / "docs/runbooks"
CATALOGUE = [alert for alerts in GROUPS.values() for alert in alerts]


def _urls(node: Any) -> list[str]:  # noqa: ANN401 - JSON
    if isinstance(node, list):
        return [url for item in node for url in _urls(item)]
    if not isinstance(node, dict):
        return []
    own = [node["url"]] if isinstance(node.get("url"), str) else []
    return own + [url for value in node.values() for url in _urls(value)]


@pytest.mark.parametrize("uid", PAGES)
def test_every_link_leads_to_a_dashboard_that_exists_or_to_the_runbook_of_the_alert(uid: str) -> None:
    for url in _urls(DASHBOARDS[uid]):
        to = re.match(r"/d/([\w-]+|\$\{__dashboard\.uid\})\?", url)
        runbook = url.startswith("https://") and url.endswith("/docs/runbooks/${__value.raw}.md")
        assert runbook or (to and to[1] in (*PAGES, "${__dashboard.uid}")), url


@pytest.mark.parametrize("uid", PAGES)
def test_the_links_lead_to_the_others_with_time_range_and_data_source(uid: str) -> None:
    links = DASHBOARDS[uid]["links"]
    assert [_there(link) for link in links] == [other for other in PAGES if other != uid]
    assert all(link["keepTime"] for link in links)
    assert all("${datasource:queryparam}" in link["url"] for link in links)


def _there(link: dict[str, Any]) -> str:
    uid: str = link["url"].removeprefix("/d/").split("?")[0]
    return uid


def test_links_carry_the_node_where_the_other_dashboard_knows_it() -> None:
    on_prosody_machines = {
        *("prosody-overview", "presence-health", "websocket-health", "push-gateway-health", "promises"),
    }
    for uid, found in DASHBOARDS.items():
        for link in found["links"]:
            both = {uid, _there(link)}
            assert ("${node:queryparam}" in link["url"]) == (both <= on_prosody_machines)


def test_a_click_on_a_line_chooses_its_node_in_the_variable_that_the_line_obeys_and_keeps_the_rest() -> None:
    seen = set()
    for panel in DATA_PANELS:
        if panel.json["type"] == "timeseries":
            asked = {name for t in panel.json["targets"] for name in re.findall(r'instance=~"\$(\w+)"', t["expr"])}
            if panel.uid == "promises" and not asked:  # they are about the whole service
                assert not panel.json["fieldConfig"]["defaults"]["links"]
                continue
            (asked,) = asked
            (link,) = panel.json["fieldConfig"]["defaults"]["links"]
            node = f"var-{asked}=${{__field.labels.instance}}"
            kept = "${datasource:queryparam}&${__url_time_range}"
            assert link["url"] == f"/d/${{__dashboard.uid}}?{node}&{kept}", panel.name
            seen.add(asked)
    assert seen == {"node", "exporter", "users"}


# --- From an alert ---------------------------------------------------------------------------------------------------


def _asked(alert: Alert) -> list[Any]:
    expr = re.sub(r"\[<window>\]", "[5m]", alert.expr)
    return selectors(re.sub(r"<\w+>", "1", expr))


def _family(sample: str) -> str:
    return re.sub(r"_(bucket|count|sum)$", "", sample)


def _admits(shown: Any, asked: Any) -> bool:  # noqa: ANN401 - the parser has no types
    """Say whether a panel's selector finds the series that an alert asks for by their labels."""
    wanted = {m.name: m.value for m in asked.matchers.matchers if m.op == promql.MatchOp.Equal}
    matchers = [m for m in shown.matchers.matchers if m.name in wanted]
    return _family(shown.name) == _family(asked.name) and all(re.fullmatch(m.value, wanted[m.name]) for m in matchers)


@pytest.mark.parametrize("alert", CATALOGUE, ids=lambda alert: f"{alert.name} {alert.labels}")
def test_an_alert_opens_a_dashboard_that_shows_what_it_fires_on(alert: Alert) -> None:
    shown = [
        selector
        for panel in all_panels(alert.dashboard)
        for target in panel.json.get("targets", [])
        for selector in selectors(plain(target["expr"]))
    ]
    recorded = [RECORDINGS[one.name] for one in shown if one.name in RECORDINGS]
    shown += [raw for expr in recorded for raw in selectors(expr)]  # what is recorded says what it is made of
    # An absent metric is missed where it would be shown; a job without targets leaves nothing to look for.
    asked = selectors(alert.labels["metric"]) if "metric" in alert.labels else _asked(alert)
    # No dashboard of the service shows Prometheus, Alertmanager and the exporters themselves.
    asked = [s for s in asked if JOB_OF.get(s.name) not in ("prometheus", "alertmanager")]
    asked = [s for s in asked if not s.name.endswith("_config_last_reload_successful")]
    # The checklist is a page of its own: commeazy-check --checklist.
    asked = [s for s in asked if s.name != "checklist_item"]
    # An alert on the targets of every job links to the landing page.
    asked = asked if alert.name != "TargetFlapping" else selectors("up")
    for selector in asked if alert.name != "JobMissing" else ():
        seen = any(_admits(one, selector) for one in shown)
        if not seen and selector.name in RECORDINGS:  # the metrics behind what is recorded say the same
            seen = all(any(_admits(one, raw) for one in shown) for raw in selectors(RECORDINGS[selector.name]))
        assert seen, f"{alert.dashboard} does not show {selector.prettify()}"


@pytest.mark.parametrize("alert", CATALOGUE, ids=lambda alert: f"{alert.name} {alert.labels}")
def test_an_alert_chooses_its_node_in_the_variable_that_lists_it_and_nothing_if_none_does(alert: Alert) -> None:
    # Grafana shows a node that a variable does not list for half a minute, without data, and then another one.
    _, *variables = DASHBOARDS[alert.dashboard]["templating"]["list"]
    listed = {v["name"]: re.findall(r'job="([\w-]+)"', v["query"]["query"]) for v in variables}
    chosen = re.findall(r"\?var-(\w+)=", Links("", "").dashboard(alert))
    if alert.dashboard == "promises" and not chosen:  # they are about the whole service
        return
    jobs = {job for selector in _asked(alert) if selector.name != "checklist_item" for job in jobs_of(selector)}
    if alert.name == "NodeDown":  # of every job; the nodes with two are Prosody's machines
        assert chosen == ["node"]
    elif alert.node_label is None:  # about no node, or about a certificate wherever it is watched from
        assert not chosen
    else:
        assert chosen == [name for name, job in listed.items() if jobs == set(job)]


EXPECTED = [
    (expected["exp_labels"] | {"alertname": check["alertname"]}, expected["exp_annotations"]["dashboard_url"])
    for path in sorted((FOLDER.parent / "alerts/tests").glob("*.yaml"))
    for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
    for check in test.get("alert_rule_test", [])
    for expected in check["exp_alerts"]
    if expected["exp_labels"]["severity"] != "none" and expected["exp_labels"].get("job", "prosody") in JOBS
]


def _listed(uid: str, labels: dict[str, str]) -> bool:
    """Say whether the list of firing alerts on a page would have this alert."""
    (panel,) = (panel for panel in all_panels(uid) if panel.json.get("title") == "Firing alerts")
    variables = dict.fromkeys((each["name"] for each in DASHBOARDS[uid]["templating"]["list"]), ALL)
    query = filled_in(panel.json["targets"][0]["expr"], variables)
    lists = [s for s in selectors(query) if s.name == "ALERTS_FOR_STATE"]
    assert lists
    return any(all(_matches(m, str(labels.get(m.name, ""))) for m in one.matchers.matchers) for one in lists)


def _matches(matcher: Any, value: str) -> bool:  # noqa: ANN401 - the parser has no types
    found = bool(re.fullmatch(matcher.value, value))
    return found != (matcher.op in (promql.MatchOp.NotEqual, promql.MatchOp.NotRe))


@pytest.mark.parametrize("name", sorted({labels["alertname"] for labels, _ in EXPECTED}))
def test_the_dashboard_that_an_alert_opens_lists_it(name: str) -> None:
    for labels, url in EXPECTED:
        if labels["alertname"] == name:
            uid = url.partition("/d/")[2].partition("?")[0]
            assert _listed(uid, labels), f"{uid} does not list {labels}"


@pytest.mark.parametrize("name", sorted({alert.name for alert in CATALOGUE}))
def test_a_runbook_names_the_dashboard_that_its_alert_opens(name: str) -> None:
    titles = {PAGES[alert.dashboard] for alert in CATALOGUE if alert.name == name}
    said = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8").split("\nDashboard: ")[1].strip()
    assert said == titles.pop() if len(titles) == 1 else said.startswith("the one ")
