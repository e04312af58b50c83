"""Judges what Prometheus and Grafana answered, one line each: what, where, and what to do. No I/O."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from alerts import promises
from alerts.catalogue import GROUPS, KNOBS
from alerts.jobs import JOBS
from alerts.panels import PANELS
from alerts.recording import RECORDINGS
from alerts.render import is_wanted
from alerts.thresholds import load
from check.chosen import Chosen, chosen
from check.client import one_line
from check.contract import ANSWERS, PROMISED
from check.items import RECORDED, checklist

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from alerts.objectives import Promises
    from check.contract import Promise
    from check.panels import Report
    from check.prometheus import ActiveTarget, Rule, Sample

_COPY_RULES = "copy the rules again and reload Prometheus (prometheus/README.md)"
_Key = tuple[str, tuple[tuple[str, str], ...]]  # an alert's name and its labels but the severity
_Seen = set[tuple[str, str, str]]  # job, instance, metric


@dataclass(frozen=True)
class Verdict:
    """One line of the result; `word` is "-" for what was not checked."""

    word: Literal["ok", "FAIL", "-"]
    text: str

    @property
    def failed(self) -> bool:
        """Whether something is wrong."""
        return self.word == "FAIL"

    def __str__(self) -> str:
        return f"{self.word:<6}{self.text}"


def ok(text: str) -> Verdict:
    """Say that all is well with it."""
    return Verdict("ok", text)


def fail(text: str) -> Verdict:
    """Say what is wrong, where, and what to do."""
    return Verdict("FAIL", text)


def targets(found: Sequence[ActiveTarget], without: Collection[str] = ()) -> Iterator[Verdict]:
    """Judge whether every job of prometheus.yml has targets of different names, and all of them are up.

    Args:
        found: all targets.
        without: jobs that have none here.
    """
    for job in JOBS:
        of_job = [target for target in found if target.job == job]
        wrong = [target for target in of_job if target.health != "up"]
        if job in without:
            word = fail(f"targets of {job}: there are {len(of_job)}, in spite of --without {job}") if of_job else None
            yield word or Verdict("-", f"targets of {job}: none, as --without says")
            continue
        for instance, number in sorted(Counter(target.instance for target in of_job).items()):
            if number > 1:
                yield fail(
                    f"targets of {job}: {number} have the instance {instance} and overwrite each other's series; "
                    f"give each an instance of its own in targets/{job}.yml"
                )
        if not of_job:
            yield fail(f"targets of {job}: there are none; name its nodes in targets/{job}.yml")
        elif not wrong:
            yield ok(f"targets of {job}: {len(of_job)} of {len(of_job)} up")
        for target in wrong:
            yield fail(_down(target))


def _down(target: ActiveTarget) -> str:
    who = f"target {target.job} {target.instance}"
    if target.health == "unknown":
        return f"{who} has not been scraped yet ({target.url}); ask again in a minute"
    advice = "see whether it runs there, and whether this host may reach its port"
    return f"{who} is down: {one_line(target.error)} ({target.url}); {advice}"


def selector(names: Iterable[str]) -> str:
    """Return the PromQL selector of every sample of these metrics; a histogram answers with its _count."""
    return f'{{__name__=~"({"|".join(names)})(_count)?"}}'


def presence() -> str:
    """Return the PromQL expression for the promised metrics that exist, by job and node."""
    return f"count by (__name__, job, instance) ({selector(p.name for job in PROMISED.values() for p in job)})"


def silence() -> str:
    """Return the PromQL expression for the servers whose exporter says that they do not answer."""
    return f'{{__name__=~"{"|".join(ANSWERS.values())}"}} == 0'


def metrics(found: Sequence[ActiveTarget], present: Iterable[Sample], silent: Iterable[Sample]) -> Iterator[Verdict]:
    """Judge whether every node that is up has every metric of its job.

    Args:
        found: all targets.
        present: the answer to `presence`.
        silent: the answer to `silence`.
    """
    seen = {(job, instance, name.removesuffix("_count")) for job, instance, name in map(_place, present)}
    mute = {(job, instance) for job, instance, _ in map(_place, silent)}
    for job, promised in PROMISED.items():
        up = {target.instance for target in found if target.job == job and target.health == "up"}
        if not up:
            yield Verdict("-", f"metrics of {job}: not looked for, as none of its targets is up")
            continue
        asked = sorted(instance for instance in up if (job, instance) not in mute)
        wrong = [f"{ANSWERS[job]} is 0 on {instance}: its server does not answer" for instance in sorted(up - {*asked})]
        wrong += _absent(job, promised, asked, seen)
        yield from (fail(f"metrics of {job}: {each}") for each in wrong)
        if not wrong:
            yield ok(f"metrics of {job}: {_counted(len(promised), 'metric')} on {_counted(len(asked), 'node')}")


def _place(sample: Sample) -> tuple[str, str, str]:
    labels = sample.labels
    return labels.get("job", ""), labels.get("instance", ""), labels["__name__"]


def _absent(job: str, promises: Iterable[Promise], asked: Sequence[str], seen: _Seen) -> Iterator[str]:
    """Yield which metrics are absent; nodes that lack the same ones share a line."""
    lacking: dict[tuple[tuple[str, ...], str], list[str]] = defaultdict(list)  # nodes, what is needed -> metrics
    for promise in promises:
        without = tuple(instance for instance in asked if (job, instance, promise.name) not in seen)
        if without and not (promise.by_job and len(without) < len(asked)):
            lacking[without, promise.needs].append(promise.name)
    for (nodes, needs), names in lacking.items():
        advice = f"there only with {needs}" if needs else "docs/runbooks/MetricAbsent.md"
        yield f"{', '.join(nodes)} without {', '.join(names)}; {advice}"


def ack_delay() -> str:
    """Return the PromQL expression for how long each Prosody waits for a phone's acknowledgement."""
    return 'prosody_setting{name="smacks_max_ack_delay"}'


def call_settings(found: Iterable[Sample]) -> Iterator[Verdict]:
    """Judge whether a call to a phone that vanished can ring; no line where no Prosody was read.

    Args:
        found: the answer to `ack_delay`.
    """
    limit = load(KNOBS)["ProsodyAckDelayHigh"].value
    assert limit is not None
    nodes = {sample.labels.get("instance", "?"): sample.value for sample in found}
    for instance, seconds in sorted(nodes.items()):
        if not seconds <= limit:
            yield fail(
                f"settings: smacks_max_ack_delay is {seconds:g} s on {instance}, so calls to phones that vanished do "
                f"not ring; set it to {limit:g} (prometheus/snippets/prosody.cfg.lua) and reload mod_smacks"
            )
    if nodes and all(seconds <= limit for seconds in nodes.values()):
        yield ok(f"settings: smacks_max_ack_delay is {limit:g} s or less on {_counted(len(nodes), 'node')}")


def rules(found: Sequence[Rule], choice: Chosen | None = None) -> Iterator[Verdict]:
    """Judge whether every rule of the catalogue is loaded, and healthy.

    Args:
        found: the loaded rules.
        choice: what it chose; None for the defaults.
    """
    choice = choice or chosen()
    severities = {name: threshold.severity for name, threshold in choice.thresholds.items()}
    wanted = {
        (alert.name, tuple(sorted(alert.labels.items())))
        for group in GROUPS.values()
        for alert in group
        if is_wanted(alert, choice.thresholds, choice.without)
    }
    loaded = {_key(rule): dict(rule.labels).get("severity", "") for rule in found if rule.alerting}
    severity = {key: loaded.get(key, severities[key[0]]) for key in wanted}
    for word, these in (
        ("critical alerts", {key for key in wanted if severity[key] == "critical"}),
        ("other alerts", {key for key in wanted if severity[key] != "critical"}),
    ):
        yield from _loaded(
            word,
            these,
            [rule for rule in found if rule.alerting and _key(rule) in these],
            named=word.startswith("critical"),
        )
    recorded: set[_Key] = {(each.record, ()) for each in (*RECORDINGS, *PANELS)}
    recorded |= {(RECORDED, (("id", item),)) for item in checklist().items}
    recorded |= _promised(choice.promised)
    recording = [rule for rule in found if not rule.alerting and _key(rule) in recorded]
    yield from _loaded("recording rules", recorded, recording)


def _promised(promised: Promises) -> set[_Key]:
    """Return the rules that measure the promises."""
    every = (rule for group in promises.rules(promised, "0").values() for rule in group)
    return {
        (r["record"], tuple(sorted((k, v) for k, v in r.get("labels", {}).items() if k != "severity"))) for r in every
    }


def _key(rule: Rule) -> _Key:
    return (rule.name, tuple(pair for pair in rule.labels if pair[0] != "severity"))


def _loaded(word: str, wanted: set[_Key], found: Sequence[Rule], *, named: bool = False) -> Iterator[Verdict]:
    missing = wanted - {_key(rule) for rule in found}
    if missing:
        yield fail(f"{word} not loaded: {', '.join(_names(missing, wanted))}; {_COPY_RULES}")
    ill = [rule for rule in found if rule.health != "ok"]
    for rule in ill:
        if rule.health == "unknown":
            wrong = "has not been evaluated yet; ask again in a minute"
        else:
            wrong = f"fails: {one_line(rule.error)}; {_COPY_RULES}"
        yield fail(f"{word}: {rule.name} {wrong}")
    if not missing and not ill:
        names = f": {', '.join(_names(wanted, wanted))}" if named else ""
        yield ok(f"{word}: {_counted(len(wanted), 'rule')} loaded and healthy{names}")


def _names(some: set[_Key], wanted: set[_Key]) -> list[str]:
    """Name alerts, and the metric or job of one that has a rule for each, unless all its rules are meant."""
    missing, there = Counter(name for name, _ in some), Counter(name for name, _ in wanted)
    whole = {name for name in missing if missing[name] == there[name]}
    parts = {f"{name} for {' '.join(value for _, value in labels)}" for name, labels in some if name not in whole}
    return sorted(whole | parts)


def watchdog(found: Iterable[Rule]) -> Verdict:
    """Judge whether the Watchdog, which must always fire, does."""
    if any(rule.name == "Watchdog" and rule.state == "firing" for rule in found):
        return ok("Watchdog: fires")
    return fail(f"Watchdog: does not fire; {_COPY_RULES}")


def refusals() -> str:
    """Return the PromQL expression for the Alertmanagers that did not accept alerts."""
    return 'sum by (alertmanager) (increase(prometheus_notifications_errors_total{job="prometheus"}[2m])) > 0'


def alertmanagers(connected: Sequence[str], refused: Iterable[Sample]) -> Iterator[Verdict]:
    """Judge whether alerts reach an Alertmanager.

    Args:
        connected: those that Prometheus sends to.
        refused: the answer to `refusals`.
    """
    advice = "see whether it runs, and targets/alertmanager.yml"
    wrong = sorted(one_line(sample.labels.get("alertmanager", "?")) for sample in refused)
    for one in wrong:
        yield fail(f"Alertmanager: {one} did not take alerts in the last 2 minutes; {advice}")
    if not connected:
        yield fail("Alertmanager: Prometheus has none to send alerts to; name it in targets/alertmanager.yml")
    elif not wrong:
        yield ok(f"Alertmanager: {', '.join(map(one_line, connected))}")


def failures() -> str:
    """Return the PromQL expression for failures of the monitoring itself, by place and kind."""
    return " or ".join(
        f'label_replace({expression} > 0, "failure", "{name}", "", "")' for name, (expression, _) in _FAILURES.items()
    )


# Failures of the monitoring itself that can happen while all targets are up: PromQL, and what to do.
_FAILURES: Final = {
    "notifications that a receiver refused in the last 15 minutes": (
        "sum by (instance, integration) (increase(alertmanager_notifications_failed_total[15m]))",
        "docs/runbooks/AlertmanagerNotificationsFailing.md",
    ),
    "configuration that could not be reloaded": (
        'sum by (job, instance) ({__name__=~".+_config_last_reload_successful"} == bool 0)',
        "docs/runbooks/ConfigurationNotReloaded.md",
    ),
    "target files that could not be read in the last 15 minutes": (
        "sum by (instance) (increase(prometheus_sd_file_read_errors_total[15m]))",
        "docs/runbooks/TargetFileUnreadable.md",
    ),
    "rules that failed in the last 5 minutes": (
        "sum by (instance, rule_group) (increase(prometheus_rule_evaluation_failures_total[5m]))",
        "docs/runbooks/RuleEvaluationFailing.md",
    ),
}


def own_failures(found: Iterable[Sample]) -> Iterator[Verdict]:
    """Judge whether the monitoring itself fails in a way that no target shows.

    Args:
        found: the answer to `failures`.
    """
    wrong = False
    for sample in found:
        wrong = True
        name = sample.labels["failure"]
        where = ", ".join(one_line(v) for k, v in sorted(sample.labels.items()) if k != "failure")
        yield fail(f"{name}: {sample.value:.0f} ({where}); {_FAILURES[name][1]}")
    if not wrong:
        yield ok("notifications, configurations, target files and rules: none failed lately")


def dashboards(found: Mapping[str, bool | None]) -> Iterator[Verdict]:
    """Judge whether every dashboard is provisioned.

    Args:
        found: by uid, Grafana's answer: see `Grafana.provisioned`.
    """
    advice = "copy dashboards and provisioning to Grafana (docs/dashboards.md)"
    for uid, provisioned in found.items():
        if provisioned is None:
            yield fail(f"dashboard {uid}: not in Grafana; {advice}")
        elif not provisioned:
            yield fail(f"dashboard {uid}: made by hand, so no update will reach it; remove it, and {advice}")
    if not found:
        yield fail("dashboards: this installation has none to ask for; install the wheel again")
    elif all(found.values()):
        yield ok(f"dashboards: {len(found)} of {len(found)} provisioned: {', '.join(found)}")


def panels(report: Report) -> Iterator[Verdict]:
    """Judge whether Grafana shows data in every panel."""
    for line in report.wrong:
        yield fail(f"panel {line}: NO DATA in Grafana" if line.endswith(")") else f"panel {line}")
    if not report.wrong:
        rest = f", {len(report.empty)} are empty as they may be when all is well" if report.empty else ""
        yield ok(f"panels: {len(report.filled)} have data in Grafana{rest}")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
