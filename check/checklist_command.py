"""What `commeazy-check --checklist`, `--attest`, `--logs` and `--host-facts` do. The flags are in `check.__main__`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from check import attestations, host, logs, site, textfile
from check.formats import FORMATS
from check.items import ATTESTED, PROBED, RUN, checklist
from check.judging import WRONG, Sources, judge
from check.probes.run import probes
from toolkit.documents import ConfigError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping
    from pathlib import Path

    from check.chosen import Chosen
    from check.grafana import GrafanaApi
    from check.probes import Probed
    from check.prometheus import PrometheusApi


def show(
    options: Namespace,
    prometheus: PrometheusApi,
    grafana: GrafanaApi | None,
    chosen: Chosen,
) -> int:
    """Judge the items and print them; returns the exit code."""
    items = checklist().of(options.section or "")
    now = time.time()
    ran: dict[str, Probed] = {}

    def kept(name: str, result: Probed) -> Probed:
        ran[name] = result
        return result

    made = probes(_site(options.site), prometheus, grafana, chosen)
    sources = Sources(
        prometheus,
        {name: lambda name=name, run=run: kept(name, run()) for name, run in made.items()},  # type: ignore[misc] # defaults
        _words(options.attestations),
        now,
    )
    findings = judge(items, sources)
    sys.stdout.write(FORMATS[options.format](findings, checklist().sections, now))
    if options.textfile:
        textfile.write(options.textfile, exported(ran, sources.attestations, now))
    return 1 if any(finding.status in WRONG for finding in findings) else 0


def exported(ran: Mapping[str, Probed], words: Mapping[str, attestations.Attestation] | str, now: float) -> str:
    """Return what Prometheus cannot see by itself: results of probes, and when each item was attested."""
    by_probe = {item.probe: item.id for item in checklist().items.values() if item.probe}
    known = {by_probe[name]: result.status == "ok" for name, result in ran.items() if result.status != "UNKNOWN"}
    attested = {} if isinstance(words, str) else {item: word.at for item, word in words.items() if word.at <= now}
    return (
        textfile.gauge(RUN, "When commeazy-check last judged the checklist, in seconds since 1970.", [({}, round(now))])
        + textfile.gauge(
            PROBED,
            "1 if the checklist's own check of an item was right, 0 if not; absent if unknown.",
            [({"id": item}, right) for item, right in sorted(known.items())],
        )
        + textfile.gauge(
            ATTESTED,
            "When a person last attested an item of the checklist, in seconds since 1970.",
            [({"id": item}, at) for item, at in sorted(attested.items())],
        )
    )


def attest(options: Namespace) -> int:
    """Write a person's word for an item; returns the exit code."""
    item = checklist().items.get(options.attest.upper())
    if item is None:
        raise attestations.AttestationError(f"--attest: there is no item {options.attest!r}; they are A1 to J5")
    if not item.attest:
        raise attestations.AttestationError(f"--attest: {item.id} is judged by a machine, not by a person")
    if not options.by:
        raise attestations.AttestationError("--attest: needs --by NAME, the person who saw it")
    word = attestations.Attestation(options.by.strip(), int(time.time()), options.note.strip())
    attestations.attest(options.attestations, item.id, word)
    print(f"{item.id} {item.text}: attested by {word.by}, worth {item.attest / 86400:.0f} days")  # noqa: T201 - a command's answer
    return 0


def personal_data(sources: list[str]) -> int:
    """Say what personal data the logs hold, by number only; returns the exit code."""
    given = {source: source for source in sources} or logs.of_this_host()
    if not given:
        raise logs.LogError("--logs: no log of the service is on this host; name files or journal:UNIT")
    wrong = False
    for name, source in given.items():
        try:
            counted = logs.read(source)
        except logs.LogError as error:
            wrong = True
            print(f"UNKNOWN {error}")  # noqa: T201 - a command's answer
            continue
        bad = any(counted.found.values())
        wrong = wrong or bad
        print(f"{'FAIL' if bad else 'ok':<8}{name}: {counted}")  # noqa: T201 - a command's answer
    return 1 if wrong else 0


def host_facts(file: Path | None) -> int:
    """Look at this host, and print the metrics or write them to the file; returns the exit code."""
    facts = host.look()
    text = facts.text(time.time())
    if file:
        textfile.write(file, text)
    else:
        sys.stdout.write(text)
    for line in facts.wrong:
        print(line, file=sys.stderr)  # noqa: T201 - a command's answer
    return 0


def _site(path: Path) -> site.Site | str:
    try:
        return site.load(path)
    except ConfigError as error:
        if path == site.DEFAULT and not path.exists():
            return f"{path} is missing; copy deploy/checklist.yml and name your hosts in it"
        if path == site.DEFAULT:
            return str(error)
        raise


def _words(path: Path) -> Mapping[str, attestations.Attestation] | str:
    try:
        return attestations.load(path)
    except attestations.AttestationError as error:
        return str(error)
