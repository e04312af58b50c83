"""The contract promises what the targets really say, and what the alerts stand on."""

from __future__ import annotations

import re

import pytest

from alerts.catalogue.monitoring import WATCHED
from alerts.jobs import JOBS
from alerts.recording import RECORDINGS
from check.contract import ANSWERS, NEEDS, OPTIONAL, PROMISED
from exporters.certificates.families import FAMILIES as CERTIFICATES
from exporters.coturn.families import FAMILIES as COTURN
from exporters.prosody.families import FAMILIES as PROSODY
from exporters.synthetic.families import FAMILIES as SYNTHETIC
from gateway.families import FAMILIES as GATEWAY
from lab.fakes.recordings import answers

NAMES = {job: {promise.name for promise in promises} for job, promises in PROMISED.items()}
RECORDED = {recording.record for recording in RECORDINGS}


@pytest.mark.parametrize("job", ["haproxy", "postgresql", "push-gateway"])
def test_every_promised_metric_is_in_every_recorded_answer_or_is_recorded_by_a_rule(job: str) -> None:
    """For programs with a table of families; tests/live/test_check.py compares the table with the running ones."""
    for source, series in answers(job).items():
        said = {name.removesuffix("_count") for name in series}
        assert NAMES[job] - said - RECORDED == set(), source


def test_every_family_of_ours_is_promised_or_says_why_it_may_be_absent() -> None:
    families = {**PROSODY, **COTURN, **CERTIFICATES, **SYNTHETIC, **GATEWAY}
    promised = set().union(*NAMES.values())
    assert set(families) - promised == set(OPTIONAL)
    assert set(NEEDS) <= set(families), "a family that is gone needs nothing"
    assert all(OPTIONAL.values())


def test_a_metric_that_a_rule_records_says_so() -> None:
    for promises in PROMISED.values():
        for promise in promises:
            assert promise.needs.startswith("rules/recording.yaml") == (promise.name in RECORDED), promise.name


def test_every_metric_whose_absence_is_an_alert_is_promised() -> None:
    promised = set().union(*NAMES.values())
    for watched in WATCHED:
        name = re.split(r"[{]", watched.series)[0].removesuffix("_count")
        assert name in promised or ":" in name, name


def test_jobs_are_those_of_prometheus_and_answers_are_promised() -> None:
    assert set(PROMISED) <= set(JOBS)
    assert all(name in NAMES[job] for job, name in ANSWERS.items())
    assert all(len(promises) == len(NAMES[job]) for job, promises in PROMISED.items())
