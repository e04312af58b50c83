"""The faults: what is done to which server, and what Prometheus must say of it. Data, and how it is written down.

A statement is named as in `lab.chaos.vitals`. What a fault does not mention must stay healthy throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

# Seconds. Prometheus scrapes every 2 s here, and gives a scrape 2 s.
INTERVAL = 2.0
TIMEOUT = 2.0
GRACE = 1.0  # between two looks of the witness, and a rule's evaluation
TWO_SCRAPES = 2 * INTERVAL + TIMEOUT + GRACE
PROBE_INTERVAL = 5.0  # of the certificate and the coturn exporter in this lab, give or take a tenth
CERTIFICATE_TIMEOUT = 5.0
COTURN_PATIENCE = 2.5  # of one round of the coturn exporter's probe
REFUSED_CERTIFICATE = 1.1 * PROBE_INTERVAL + TWO_SCRAPES
SILENT_CERTIFICATE = REFUSED_CERTIFICATE + CERTIFICATE_TIMEOUT
LOG_SEARCH = 15.0  # the coturn exporter's, for a log among the sockets
HAPROXY_CHECKS = 3 * 5.0  # Section 7: inter 5s fall 3
RECORDED = TWO_SCRAPES + INTERVAL  # a rule's result is one evaluation late
SIGN_OF_LIFE = 2.0 + 3.0  # of a provider while answers are due (gateway.http2.Timing); a push a second makes them due


class Kind(StrEnum):
    """What is done to a server."""

    KILL = "killed"
    STOP = "stopped"
    FREEZE = "frozen"
    SLOW = "slow"
    LATE = "answering late"
    UNAVAILABLE = "answering 503"
    FULL = "full"
    CLOCK = "clock stepped"


@dataclass(frozen=True)
class Fault:
    """One row.

    Args:
        server: by its name in the lab.
        kind: what is done.
        says: statements that must turn to no, each within so many seconds of the fault.
        loses: statements that must not be healthy within so many seconds; their series may be gone instead.
        may: statements that may be anything meanwhile, a name or the beginning of one.
        group: two faults of one group do not happen at once: one would hide the other.
        lasts: seconds it may last, at least and at most.
    """

    server: str
    kind: Kind
    group: str
    says: dict[str, float] = field(default_factory=dict)
    loses: dict[str, float] = field(default_factory=dict)
    may: tuple[str, ...] = ()
    lasts: tuple[float, float] = (8.0, 20.0)

    @property
    def name(self) -> str:
        """For a person to read."""
        return f"{self.server} {self.kind}"

    @property
    def must(self) -> dict[str, float]:
        """Every statement that must not stay healthy."""
        return self.says | self.loses

    def touches(self, statement: str) -> bool:
        """Whether it may change what is said here."""
        return statement in self.must or any(statement == one or statement.startswith(f"{one} ") for one in self.may)


# Seconds after the mending within which a statement must be healthy again; TWO_SCRAPES if it is not named.
HEALS: Final = {
    "coturn_probe_success": PROBE_INTERVAL + COTURN_PATIENCE + TWO_SCRAPES,
    "coturn_exporter_source_up": TWO_SCRAPES + 1,  # the log is looked for every second
    "coturn_log_in_configured_place": LOG_SEARCH + TWO_SCRAPES,
    "push_gateway_up": RECORDED,
    # A clock set back makes a token due: looked for every 20 s; the breaker asks every 5 s; a reconnect takes 2 s.
    "push_provider_state": 20.0 + 5.0 + 2.0 + TWO_SCRAPES,
    "push_inflight": 30.0 + TWO_SCRAPES,  # a call is given up after 30 s
    "ssl_certificate_probe_success": SILENT_CERTIFICATE,
    "haproxy_server_status": 2 * 5.0 + TWO_SCRAPES,  # Section 7: rise 2
    "haproxy_backend_up": 2 * 5.0 + RECORDED,
}


def heals(statement: str) -> float:
    """Seconds within which a statement must be healthy again."""
    return HEALS.get(statement.partition(" ")[0], TWO_SCRAPES)


def _prosody(name: str) -> list[Fault]:
    haproxy = {f"haproxy_server_status {name}": HAPROXY_CHECKS + TWO_SCRAPES}
    backend = {"haproxy_backend_up haproxy1": HAPROXY_CHECKS + RECORDED}
    certificate = f"ssl_certificate_probe_success {name}-c2s"
    gone = {f"prosody_up {name}": TWO_SCRAPES, certificate: REFUSED_CERTIFICATE} | haproxy | backend
    return [
        Fault(name, Kind.KILL, "xmpp", says=gone, lasts=(8, 30)),
        Fault(name, Kind.STOP, "xmpp", says=gone, lasts=(8, 30)),
        Fault(
            name, Kind.FREEZE, "xmpp",
            says={f"prosody_up {name}": TWO_SCRAPES, certificate: SILENT_CERTIFICATE}, may=(*haproxy, *backend),
        ),
        Fault(name, Kind.SLOW, "xmpp", may=(f"prosody_up {name}", certificate, *haproxy, *backend)),
        Fault(name, Kind.CLOCK, "xmpp"),
    ]  # fmt: skip


def _exporter(server: str, job: str, instance: str, loses: tuple[str, ...]) -> list[Fault]:
    up = {f"up {job} {instance}": TWO_SCRAPES}
    gone = dict.fromkeys(loses, TWO_SCRAPES)  # what nobody says any more
    return [
        *(Fault(server, kind, server, says=up, loses=gone) for kind in (Kind.KILL, Kind.STOP, Kind.FREEZE)),
        Fault(server, Kind.SLOW, server, may=(*up, *loses)),
    ]


def _gateway(node: str) -> list[Fault]:
    server = f"{node}-gateway"
    up = {f"up push-gateway {node}": TWO_SCRAPES, f"push_gateway_up {node}": RECORDED}
    states = tuple(f"push_provider_state {node} {handler}" for handler in ("voip", "fcm"))
    gone = dict.fromkeys(states, TWO_SCRAPES)
    pushes = f"push_inflight {node}"
    return [
        *(
            Fault(server, kind, "push", says=up, loses=gone, may=(pushes,))
            for kind in (Kind.KILL, Kind.STOP, Kind.FREEZE)
        ),
        Fault(server, Kind.SLOW, "push", may=(*up, *states, pushes)),
        Fault(server, Kind.CLOCK, "push", may=(*states, pushes)),
    ]


def _providers() -> list[Fault]:
    everybody = [(node, handler) for node in ("prosody1", "prosody2") for handler in ("voip", "fcm")]
    states = [f"push_provider_state {node} {handler}" for node, handler in everybody]
    pushes = [f"push_inflight {node} {handler}" for node, handler in everybody]
    lost = dict.fromkeys(states, TWO_SCRAPES)
    silent = dict.fromkeys(states, GRACE + SIGN_OF_LIFE + TWO_SCRAPES)
    # Five faults in a row open the breaker: three pushes' first and second tries at the latest.
    refused = dict.fromkeys(states, 3.0 + TWO_SCRAPES)
    stuck = dict.fromkeys(pushes, 4.0 + TWO_SCRAPES)
    queued = ("push_inflight",)
    return [
        Fault("providers", Kind.KILL, "push", says=lost, may=queued),
        Fault("providers", Kind.FREEZE, "push", says=silent, may=queued, lasts=(15, 20)),
        Fault("providers", Kind.SLOW, "push", may=("push_provider_state", *queued)),
        Fault("providers", Kind.UNAVAILABLE, "push", says=refused, may=queued, lasts=(12, 20)),
        Fault("providers", Kind.LATE, "push", says=stuck, may=("push_provider_state",), lasts=(12, 20)),
    ]


def _coturn() -> list[Fault]:
    up = {"coturn_up coturn1": TWO_SCRAPES}
    probes = "coturn_probe_success coturn1"
    probed = {
        f"{probes} {probe} {transport}": PROBE_INTERVAL + COTURN_PATIENCE + TWO_SCRAPES
        for probe in ("stun", "turn") for transport in ("udp", "tcp", "tls")
    }  # fmt: skip
    certificate = "ssl_certificate_probe_success turn-tls"
    sources = "coturn_exporter_source_up coturn1"
    place = "coturn_log_in_configured_place coturn1"
    told = ("coturn_up coturn1", *probed, f"{sources} log", f"{sources} relay_ports", place)
    return [
        *(
            Fault(
                "coturn", kind, "turn",
                says=up | {certificate: REFUSED_CERTIFICATE}, loses=probed, may=(sources, place), lasts=(8, 20),
            )
            for kind in (Kind.KILL, Kind.STOP)
        ),
        Fault(
            "coturn", Kind.FREEZE, "turn",
            says=up | {certificate: SILENT_CERTIFICATE}, loses=probed, may=(sources, place),
        ),
        Fault("coturn", Kind.SLOW, "turn", may=(*up, probes, certificate, sources, place)),
        # Its users' names are times of expiry.
        Fault("coturn", Kind.CLOCK, "turn", may=(f"{probes} turn",)),
        *_exporter("coturn1-exporter", "coturn", "coturn1", told),
        Fault("coturn1-exporter", Kind.CLOCK, "coturn1-exporter", may=(f"{probes} turn",)),
    ]  # fmt: skip


def _others() -> list[Fault]:
    sql = tuple(f"{statement} {node}" for statement in ("prosody_up", "haproxy_server_status") for node in _NODES)
    doors = tuple(f"ssl_certificate_probe_success {node}-c2s" for node in _NODES)
    backend = "haproxy_backend_up haproxy1"
    certificates = tuple(
        f"ssl_certificate_probe_success {target}"
        for target in (*(f"{node}-c2s" for node in _NODES), "turn-tls", "wss", "files")
    )
    haproxy = {"up haproxy haproxy1": TWO_SCRAPES}
    wss = "ssl_certificate_probe_success wss"
    seen = (*(f"haproxy_server_status {node}" for node in _NODES), backend)
    return [
        # Prosody asks its database in its one thread: it may stand still with it. It may die of it, too: 13.0.1 with
        # Debian's lua-dbi-postgresql ended with SIGSEGV after one kill in two, with and without an exporter.
        Fault("postgres1", Kind.KILL, "xmpp", says={"pg_up postgres1": TWO_SCRAPES}, may=(*sql, *doors, backend)),
        Fault(
            "postgres1", Kind.FREEZE, "xmpp",
            loses={"pg_up postgres1": TWO_SCRAPES}, may=("up postgresql postgres1", *sql, *doors, backend),
        ),
        Fault("postgres2", Kind.KILL, "xmpp", says={"pg_up postgres2": TWO_SCRAPES}),
        Fault(
            "postgres2", Kind.FREEZE, "xmpp",
            loses={"pg_up postgres2": TWO_SCRAPES}, may=("up postgresql postgres2",),
        ),
        Fault(
            "haproxy", Kind.KILL, "xmpp",
            says=haproxy | {wss: REFUSED_CERTIFICATE}, loses=dict.fromkeys(seen[:2], TWO_SCRAPES), may=(backend,),
        ),
        Fault(
            "haproxy", Kind.FREEZE, "xmpp",
            says=haproxy | {wss: SILENT_CERTIFICATE}, loses=dict.fromkeys(seen[:2], TWO_SCRAPES), may=(backend,),
        ),
        Fault("haproxy", Kind.SLOW, "xmpp", may=(*haproxy, wss, *seen)),
        *_exporter("monitoring-exporter", "certificates", "monitoring", certificates),
        Fault("monitoring-exporter", Kind.CLOCK, "monitoring-exporter"),
        # The gateways, the exporters and coturn cannot log there; they work on. coturn logs elsewhere, and is found
        # out; only a restart brings it back.
        Fault(
            "log disk", Kind.FULL, "turn",
            says={"coturn_log_in_configured_place coturn1": LOG_SEARCH + TWO_SCRAPES}, lasts=(23, 30),
            may=(
                "coturn_up coturn1", "coturn_probe_success coturn1", "coturn_exporter_source_up coturn1",
                "ssl_certificate_probe_success turn-tls",
            ),
        ),
    ]  # fmt: skip


_NODES = ("prosody1", "prosody2")
FAULTS: Final = (
    *(fault for node in _NODES for fault in _prosody(node)),
    *(fault for node in _NODES for fault in _exporter(f"{node}-exporter", "prosody", node, (f"prosody_up {node}",))),
    *(Fault(f"{node}-exporter", Kind.CLOCK, f"{node}-exporter") for node in _NODES),
    *(fault for node in _NODES for fault in _gateway(node)),
    *_providers(),
    *_coturn(),
    *_others(),
)
