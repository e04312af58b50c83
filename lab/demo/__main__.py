"""`make demo`: the whole stack on this machine, with traffic, and what Prometheus sees of it.

It measures nothing itself: every figure it prints is an answer of Prometheus.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from check.client import CannotAskError
from check.contract import PROMISED
from check.examination import examine
from check.panels import PrometheusItself, Report, check, read_dashboards
from check.verdicts import selector
from lab.demo import journeys
from lab.demo.breakdowns import BREAKDOWNS
from lab.demo.summary import PromisedMetric, finding_lines, findings, prosody_line, target_lines
from lab.running.workspace import LabError
from lab.servers.grafana import HOW_TO_GET, Grafana, home
from lab.stack import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from check.prometheus import Sample
    from lab.running.server import Server

SCRAPES = 6  # of every target before the summary: the first shows that it answers, the others what traffic does to it
DEADLINE = 90.0  # seconds until then, and until nothing is missing
PANELS_DEADLINE = 180.0  # seconds until every panel has had data, on a machine that does much else
ALERT_DEADLINE = (
    900.0  # seconds until a fault's alert must fire before the pictures; the shipped `for` is not shortened
)
_BROKEN_SHARE = 1 / 3  # of --minutes, for which --fault lasts before the pictures
REFRESH = 2.0  # seconds between two looks at Prometheus
_NAMES = [promise.name for promises in PROMISED.values() for promise in promises]


def main() -> int:
    """Run the demo; return 0 if all is well, 1 if not, 130 if --once was interrupted."""
    parser = argparse.ArgumentParser(prog="demo", description="The monitoring stack on loopback, with traffic on it.")
    parser.add_argument("--once", action="store_true", help="end after the summary; fail if anything is missing")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="take pictures of each dashboard, by Grafana")
    parser.add_argument(
        "--minutes", type=float, default=0.0, metavar="N", help="how long traffic runs before the pictures (default 0)"
    )
    parser.add_argument("--fault", choices=BREAKDOWNS, help="break something after the summary, for the dashboards")
    parser.add_argument(
        "--active-passive", action="store_true", help="all users on one Prosody, the other waits: docs/architectures.md"
    )
    arguments = parser.parse_args()
    once = arguments.once
    try:
        with Lab(active_passive=arguments.active_passive) as lab:
            grafana = _start(lab)
            wrong = _wait_for_everything(lab)
            _print_summary(lab)
            wrong += _print_journeys(lab)
            # What is wrong already does not get better while panels are waited for.
            wrong += _wait_for_panels(lab, 0 if wrong else PANELS_DEADLINE).wrong
            _print_verdict(wrong)
            _wait(lab, arguments.minutes * (1 - _BROKEN_SHARE if arguments.fault else 1))
            with _broken(lab, arguments.fault):
                if arguments.fault:
                    _wait(lab, arguments.minutes * _BROKEN_SHARE)
                if arguments.pictures and arguments.fault:
                    _wait_for_alert(lab, BREAKDOWNS[arguments.fault].alert)
                if arguments.pictures:
                    _take_pictures(grafana, arguments.pictures)
                if not once:
                    _watch(lab)
            return 1 if wrong else 0
    except KeyboardInterrupt:
        print("\nStopped; nothing is left behind.")
        return 130 if once else 0
    except (LabError, CannotAskError) as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1


def _start(lab: Lab) -> Grafana | None:
    """Start everything, and Grafana if there is one: nothing depends on it, so it may fail."""
    began = time.monotonic()
    print(f"Starting on 127.0.0.1; each server's log is {lab.directory}/NAME.log:")
    for server in lab.start_all():
        _say_started(server)
    grafana = Grafana(lab, where, lab.prometheus) if (where := home()) else None
    if grafana is not None:
        try:
            grafana.start()
            _say_started(grafana)
        except LabError as error:
            print(f"  Grafana does not join: {error}")
            grafana = None
    print(f"All ready after {time.monotonic() - began:.0f} s.", flush=True)
    return grafana


def _say_started(server: Server) -> None:
    print(f"  {server.name:<20}ready in {server.ready_after:.1f} s   {server.address}", flush=True)


def _wait_for_everything(lab: Lab) -> list[str]:
    """Wait until each target was scraped often enough and nothing is wrong; return what is wrong at the deadline."""
    print(f"Waiting until Prometheus has scraped each target {SCRAPES} times ...", flush=True)
    deadline = time.monotonic() + DEADLINE
    while True:
        _fail_on_a_crash(lab)
        targets = lab.prometheus.targets()
        scrapes = [sample.value for sample in lab.prometheus.query("count_over_time(up[10m])")]
        scraped = bool(targets) and len(scrapes) == len(targets) and min(scrapes) >= SCRAPES
        late = time.monotonic() > deadline
        wrong = _problems(lab) if scraped or late else []
        if late and not scraped:
            wrong.insert(0, f"Prometheus did not scrape each target {SCRAPES} times in {DEADLINE:g} s")
        if late or (scraped and not wrong):
            return wrong
        time.sleep(0.5)


def _wait_for_panels(lab: Lab, patience: float) -> Report:
    """Wait until every panel of the dashboards whose jobs run here has had data; print and return what was found."""
    jobs = {target.job for target in lab.prometheus.targets()}
    dashboards = read_dashboards()
    asked = [dashboard for dashboard in dashboards if set(dashboard.jobs.values()) <= jobs]
    left_out = [dashboard.title for dashboard in dashboards if dashboard not in asked]
    deadline = time.monotonic() + patience
    filled: list[str] = []
    while True:
        report = check(PrometheusItself(lab.prometheus.url), asked)
        filled += report.filled
        if not report.wrong or time.monotonic() > deadline:
            break
        _fail_on_a_crash(lab)
        asked = [
            replace(dashboard, panels=tuple(panel for panel in dashboard.panels if panel.name not in filled))
            for dashboard in asked
        ]
    report.filled = filled
    print("\nDashboards, every query for all nodes and for one node:")
    print(*(f"  {line}" for line in report.lines()), sep="\n")
    if left_out:
        print(f"  left out, because their services are not in this lab: {', '.join(left_out)}")
    sys.stdout.flush()
    return report


def _wait(lab: Lab, minutes: float) -> None:
    if minutes:
        print(f"Traffic runs for {minutes:g} minutes ...", flush=True)
    deadline = time.monotonic() + 60 * minutes
    while time.monotonic() < deadline:
        _fail_on_a_crash(lab)
        time.sleep(REFRESH)


def _wait_for_alert(lab: Lab, name: str) -> None:
    """Wait until this alert fires: without it, a picture of a fault shows only half of it."""
    deadline = time.monotonic() + ALERT_DEADLINE
    while not any(a["state"] == "firing" and a["labels"]["alertname"] == name for a in lab.prometheus.alerts()):
        _fail_on_a_crash(lab)
        if time.monotonic() > deadline:
            raise LabError(f"{name} does not fire {ALERT_DEADLINE:g} s after its fault")
        time.sleep(REFRESH)


@contextmanager
def _broken(lab: Lab, fault: str | None) -> Iterator[None]:
    """Break what `--fault` names for as long as the context lasts."""
    if fault is None:
        yield
        return
    breakdown = BREAKDOWNS[fault]
    with breakdown.begin(lab):
        print(f"\nBroken now: {breakdown.says} The alert {breakdown.alert} follows.", flush=True)
        yield


def _take_pictures(grafana: Grafana | None, folder: Path) -> None:
    """Save what Grafana's dashboards look like, if there is one."""
    if grafana is None:
        print(f"\n{HOW_TO_GET}", flush=True)
        return
    for picture in grafana.take_pictures(folder):
        print(f"  {picture}", flush=True)


def _problems(lab: Lab) -> list[str]:
    return [verdict.text for verdict in examine(lab.prometheus.api) if verdict.failed]


def _found(lab: Lab) -> list[PromisedMetric]:
    return findings(_NAMES, lab.prometheus.query(selector(_NAMES)))


def _print_summary(lab: Lab) -> None:
    print("\nTargets, as Prometheus sees them:", *target_lines(lab.prometheus.targets()), sep="\n")
    print("\nMetrics, as Prometheus has them (value: the sum over the samples):", *finding_lines(_found(lab)), sep="\n")
    days = {s.labels["target"]: s.value for s in lab.prometheus.query("ssl_certificate_expiry_days")}
    print("\nProsody:", prosody_line(lab.prometheus.query("prosody_build_info")))
    print("\nCertificates:", ", ".join(f"{target} {left:.1f} days left" for target, left in sorted(days.items())))
    print(f"\nPrometheus    {lab.prometheus.url}\nAlertmanager  {lab.alertmanager.url}", flush=True)


def _print_journeys(lab: Lab) -> list[str]:
    """Print what the test users got; return what is wrong with it."""
    ask = lab.prometheus.query

    def quantiles(by: str, histogram: str) -> tuple[list[Sample], list[Sample]]:
        return ask(journeys.quantile(0.5, by, histogram)), ask(journeys.quantile(0.99, by, histogram))

    found = journeys.pairs(ask(journeys.RESULTS), *quantiles("from, to", journeys.MESSAGES))
    print("\nMessages between test users of each node (any: the node that the door chooses):")
    print(*(pair.line for pair in found), sep="\n")
    explained, wrong = journeys.verdict(found, cross_node=not lab.haproxy.active_passive)
    if explained:
        print(*explained, sep="\n")
    print("\nLogins through the users' door, by stage:")
    print(journeys.stage_line(*quantiles("stage", journeys.LOGINS)), flush=True)
    return wrong


def _print_verdict(wrong: list[str]) -> None:
    if wrong:
        print(f"\ndemo failed: {'; '.join(wrong)}", file=sys.stderr, flush=True)
    else:
        print("\nAll targets are up and every metric has samples.", flush=True)


def _watch(lab: Lab) -> None:
    """Keep one line of status up to date until Ctrl-C; without a terminal there is nobody to refresh it for."""
    print(f"The checklist: .venv/bin/commeazy-check --checklist --prometheus {lab.prometheus.url}")
    print("Running until Ctrl-C.", flush=True)
    while True:
        _fail_on_a_crash(lab)
        if sys.stdout.isatty():
            print(f"\r\033[K{_status(lab)}", end="", flush=True)
        time.sleep(REFRESH)


def _status(lab: Lab) -> str:
    def number(expression: str) -> str:
        return "".join(f"{sample.value:.0f}" for sample in lab.prometheus.query(expression)) or "?"

    return (
        f"{number('sum(up)')} of {number('count(up)')} targets up · {number('sum(prosody_c2s_sessions)')} sessions, "
        f"{number('sum(prosody_c2s_hibernated_sessions)')} of them hibernated · "
        f"{number('sum(rate(prosody_stanzas_total[30s]))')} stanzas/s"
    )


def _fail_on_a_crash(lab: Lab) -> None:
    if crashed := lab.crashed():
        raise LabError("\n".join(crashed))


if __name__ == "__main__":
    sys.exit(main())
