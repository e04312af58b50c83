"""Puts the probes together: what each needs of the site's file, of Prometheus and of Grafana."""

from __future__ import annotations

from typing import TYPE_CHECKING

from check import verdicts
from check.client import CannotAskError
from check.examination import uids
from check.probes import Probed
from check.probes.names import dns_answers, dns_ttl
from check.probes.ports import ports
from check.probes.storage import passwords, stores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from check.chosen import Chosen
    from check.grafana import GrafanaApi
    from check.prometheus import PrometheusApi
    from check.site import Site


def probes(
    site: Site | str,
    prometheus: PrometheusApi,
    grafana: GrafanaApi | None,
    chosen: Chosen | None = None,
) -> dict[str, Callable[[], Probed]]:
    """Return what to run for each probe of checklist.yaml.

    Args:
        site: what the operator says, or one line that says why it is not known.
        prometheus: whose rules are looked at.
        grafana: None if none is given.
        chosen: what the site chose for its rules; None for the defaults.
    """

    def on_site(probe: Callable[[Site], Probed]) -> Callable[[], Probed]:
        return lambda: Probed("UNKNOWN", site) if isinstance(site, str) else probe(site)

    return {
        "ports": on_site(lambda site: ports(site.open, site.closed)),
        "dns_answers": on_site(lambda site: dns_answers(site.server, site.names)),
        "dns_ttl": on_site(lambda site: dns_ttl(site.server, site.names)),
        "stores": on_site(stores),
        "passwords": on_site(passwords),
        "dashboards": lambda: _dashboards(grafana),
        "rules": lambda: _rules(prometheus, chosen),
    }


def _dashboards(grafana: GrafanaApi | None) -> Probed:
    if grafana is None:
        return Probed("UNKNOWN", "no --grafana given")
    try:
        return _of(verdicts.dashboards({uid: grafana.provisioned(uid) for uid in uids()}))
    except CannotAskError as error:
        return Probed("UNKNOWN", f"Grafana cannot be asked: {error}")


def _rules(prometheus: PrometheusApi, chosen: Chosen | None) -> Probed:
    try:
        rules = prometheus.rules()
    except CannotAskError as error:
        return Probed("UNKNOWN", f"Prometheus cannot be asked: {error}")
    return _of([*verdicts.rules(rules, chosen), verdicts.watchdog(rules)])


def _of(found: Iterable[verdicts.Verdict]) -> Probed:
    wrong = [verdict.text for verdict in found if verdict.failed]
    return Probed("FAIL", "; ".join(wrong)) if wrong else Probed("ok")
