"""The jobs that Prometheus scrapes: one table for prometheus.yml, the target files, the rules and the checks.

To add a job, add an entry here and run `make generate`.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Job:
    """One job of prometheus.yml.

    Attributes:
        name: the job's name, and its file in targets/.
        port: the TCP port that is scraped.
        dashboard: the uid of the dashboard that shows its targets.
        hosts: the nodes that the shipped target file names.
        about: the comment of the target file.
        interval: seconds between two scrapes.
        timeout: seconds for one scrape; None for Prometheus' default.
        instance: the node's name where it differs from the host.
        comment: comment line of prometheus.yml; "" for none.
        serving: whether users notice at once when its targets are silent.
    """

    name: str
    port: int
    dashboard: str
    hosts: tuple[str, ...]
    about: str
    interval: int = 30
    timeout: int | None = None
    instance: str | None = None
    comment: str = ""
    serving: bool = False


_NODES: Final = ("prosody1", "prosody2", "prosody3")
_LOCAL: Final = ("localhost",)
_OVERVIEW: Final = "prosody-overview"

JOBS: Final = {
    job.name: job
    for job in (
        Job(
            "prosody",
            9871,
            _OVERVIEW,
            _NODES,
            "prosody-exporter on every Prosody node.",
            comment="The exporter on each Prosody node. Prosody's own :5280/metrics answers 403 to any other host.",
            serving=True,
        ),
        Job(
            "push-gateway",
            9874,
            "push-gateway-health",
            _NODES,
            (
                "The push gateway beside every Prosody, on its listener for metrics. Where VoIP and FCM run as two "
                "units on a node, list both ports, each with an `instance` of its own (prosody1-voip, prosody1-fcm): "
                "with the same `instance` the two targets would overwrite each other's series."
            ),
            interval=15,
            comment="The gateway's second listener: /push on port 5281 stays on 127.0.0.1.",
        ),
        Job(
            "haproxy",
            8404,
            "haproxy",
            ("haproxy1", "haproxy2"),
            (
                "Both HAProxies by their own names, not by the address that moves between them, so that the standby "
                "is watched too."
            ),
            interval=15,
            comment="HAProxy's built-in exporter: snippets/haproxy.cfg.",
            serving=True,
        ),
        Job(
            "postgresql",
            9187,
            "postgresql",
            ("postgres-exporter",),
            (
                "postgres_exporter, one per server, replicas included: which server is the primary, and whether there"
                " is exactly one, can only be told from all of them."
            ),
            serving=True,
        ),
        Job(
            "coturn",
            9872,
            "coturn",
            ("coturn1", "coturn2", "coturn3"),
            "coturn-exporter on every coturn node.",
            interval=15,
            serving=True,
        ),
        Job(
            "node",
            9100,
            "hosts",
            (
                *_NODES,
                *("haproxy1", "haproxy2", "postgres1", "postgres2", "coturn1", "coturn2", "coturn3", "monitoring"),
            ),
            (
                "Debian's prometheus-node-exporter on every host, by the name that the host's other targets have as "
                "their `instance`: a node on which nothing answers is one page."
            ),
            comment="The hosts themselves: disk, memory, processor, clock, units, network.",
        ),
        Job(
            "certificates",
            9873,
            "websocket-health",
            _LOCAL,
            "certificate-exporter, on the monitoring host: it looks at the endpoints from outside, as a client does.",
            interval=60,
            timeout=30,
            instance="monitoring",
            comment="Certificates change seldom, and an endpoint may take its time to answer.",
        ),
        Job(
            "synthetic",
            9876,
            _OVERVIEW,
            _LOCAL,
            (
                "synthetic-exporter, on the monitoring host: test users who come through the users' door. A second one "
                "elsewhere needs a `vantage` and test users of its own (docs/synthetic.md)."
            ),
            interval=15,
            instance="monitoring",
            comment="What users get: a message that fails is known within seconds, so it is scraped often.",
        ),
        Job(
            "prometheus",
            9090,
            _OVERVIEW,
            _LOCAL,
            (
                "Prometheus itself, on the monitoring host. The other server of a pair goes here too, with an "
                "`instance` of its own."
            ),
            instance="monitoring",
        ),
        Job(
            "alertmanager",
            9093,
            _OVERVIEW,
            _LOCAL,
            (
                "Alertmanager: alerts are sent to every target of this file, and it is scraped. A second one needs an"
                " `instance` of its own."
            ),
            instance="monitoring",
        ),
    )
}
