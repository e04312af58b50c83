"""Turns one snapshot of Prosody into metric families. Pure: no I/O, no clock."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from exporters.prosody.families import FAMILIES
from exporters.prosody.registry import Registry, parse_registry
from exporters.prosody.snapshot import SHOWS, TRANSPORTS, Counts, Process, Rows, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    from exporters.prosody.probe import Observations

# What Appendix A of the specification enables, and the module without which its turn_external_* settings do nothing.
REQUIRED_MODULES = frozenset({
    "admin_adhoc", "admin_shell", "blocklist", "bookmarks", "carbons", "cloud_notify", "csi_simple", "disco",
    "http_openmetrics", "limits", "mimicking", "pep", "ping", "private", "roster", "saslauth", "smacks", "time", "tls",
    "turn_external", "uptime", "vcard4", "vcard_legacy", "version", "websocket",
})  # fmt: skip
# What Appendix A and Appendix C forbid.
FORBIDDEN_MODULES = frozenset({"mam", "muc_mam", "offline", "register", "register_ibr", "s2s"})


_OUR_NAMES = FAMILIES.taken


def is_ours(name: str) -> bool:
    """Tell whether this exporter has a series or family of this name: a collector's, or one about the scrape."""
    return name in _OUR_NAMES or name == "prosody_up" or name.startswith(("prosody_exporter_", "process_"))


def missing_families(*, instrument: bool, probe: bool) -> list[str]:
    """Name the families that have no samples when a source is switched off."""
    on = {"", *(["instrument"] if instrument else []), *(["probe"] if probe else [])}
    return [family.name for family in FAMILIES.values() if not on & set(family.needs.split(" or "))]


def collect(
    snapshot: Snapshot | None, observations: Observations | None, outside: Process | None = None
) -> Iterable[Metric]:
    """Return every family that has samples.

    Args:
        snapshot: of the server; None when it could not be read.
        observations: what the WebSocket probe has seen so far; None when it is switched off.
        outside: what the server's process uses, seen from outside; used when there is no snapshot.
    """
    if observations is not None:
        yield FAMILIES.fill_histograms("prosody_websocket_ping_seconds", ((), observations.round_trips))
        if observations.login_mechanisms:
            mechanisms = sorted(observations.login_mechanisms.items())
            yield FAMILIES.fill("prosody_websocket_login_mechanisms", *(((host,), n) for host, n in mechanisms))
    counts = snapshot.counts if snapshot else None
    if counts is not None or observations is not None:
        yield _connection_errors(counts, observations)
    if snapshot is None:
        yield from _process(outside or Process())
    else:
        yield from _server(snapshot)
        if snapshot.counts is not None:
            yield from _sessions(snapshot.counts, snapshot.virtual_hosts)
            yield from _events(snapshot.counts)
            yield from _bookkeeping(snapshot.counts)
        families, left_out = parse_registry(snapshot.registry or Registry(""), is_ours)
        yield FAMILIES.fill("prosody_exporter_registry_families_left_out", ((), left_out))
        yield from families


def _server(snapshot: Snapshot) -> Iterator[Metric]:
    yield FAMILIES.fill("prosody_build_info", ((snapshot.version,), 1))
    yield FAMILIES.fill("prosody_start_time_seconds", ((), snapshot.start_time))
    yield FAMILIES.fill("prosody_lua_heap_bytes", ((), snapshot.lua_heap_bytes))
    yield from _process(snapshot.process)
    settings = sorted(snapshot.settings.items())
    yield FAMILIES.fill("prosody_setting", *(((name, host), value) for name, (value, host) in settings))
    yield FAMILIES.fill("prosody_authentication_info", *((row, 1) for row in sorted(snapshot.authentication.items())))
    yield FAMILIES.fill("prosody_module_loaded", *_modules(snapshot))


def _process(process: Process) -> Iterator[Metric]:
    for name, value in (
        ("prosody_cpu_seconds_total", process.cpu_seconds),
        ("prosody_memory_used_bytes", process.resident_bytes),
        ("prosody_open_fds", process.open_fds),
    ):
        if value is not None:
            yield FAMILIES.fill(name, ((), value))


def _modules(snapshot: Snapshot) -> Iterator[tuple[tuple[str, str], float]]:
    for host, loaded in sorted(snapshot.modules.items()):
        absent = REQUIRED_MODULES | FORBIDDEN_MODULES if host in snapshot.virtual_hosts else frozenset()
        absent = absent - loaded - snapshot.modules["*"]
        yield from (((host, module), 1) for module in sorted(loaded))
        yield from (((host, module), 0) for module in sorted(absent))


def _sessions(counts: Counts, virtual_hosts: Iterable[str]) -> Iterator[Metric]:
    by_transport: dict[tuple[str, str], float] = defaultdict(float)
    by_show: dict[tuple[str, str], float] = defaultdict(float)
    hibernated: dict[tuple[str], float] = defaultdict(float)
    for host in virtual_hosts:
        by_transport.update({(host, transport): 0 for transport in TRANSPORTS})
        by_show.update({(host, show): 0 for show in SHOWS})
        hibernated.update({(host,): 0})
    for s in counts.sessions:
        by_transport[s.host, s.transport] += s.count
        by_show[s.host, s.show] += s.count
        if s.hibernated:
            hibernated[s.host,] += s.count
    yield FAMILIES.fill("prosody_c2s_sessions", *by_transport.items())
    yield FAMILIES.fill("prosody_presence_sessions", *by_show.items())
    yield FAMILIES.fill("prosody_c2s_hibernated_sessions", *hibernated.items())
    without_smacks = sorted(counts.without_smacks.items())
    yield FAMILIES.fill("prosody_c2s_sessions_without_smacks", *(((host,), n) for host, n in without_smacks))


def _rows(rows: Rows) -> Iterator[tuple[tuple[str, str], float]]:
    for first, row in sorted(rows.items()):
        for second, value in sorted(row.items()):
            yield (first, second), value


def _events(counts: Counts) -> Iterator[Metric]:
    yield FAMILIES.fill("prosody_stanzas_total", *_rows(counts.stanzas))
    yield FAMILIES.fill("prosody_presence_updates_total", *_rows(counts.presence_updates))
    yield FAMILIES.fill("prosody_dead_connections_total", *_rows(counts.dead_connections))
    yield FAMILIES.fill("prosody_authentications_total", *_rows(counts.authentications))
    yield FAMILIES.fill("prosody_push_notifications_total", *_rows(counts.pushes))
    yield FAMILIES.fill(
        "prosody_push_registrations", *(((host,), n) for host, n in sorted(counts.registrations.items()))
    )
    yield FAMILIES.fill("prosody_push_wakeups_total", *sorted(counts.wakeups.items()))
    yield FAMILIES.fill_histograms("prosody_push_wakeup_seconds", *sorted(counts.wakeup_seconds.items()))
    yield FAMILIES.fill("prosody_canary_logins_total", *_rows(counts.canary_logins))
    yield FAMILIES.fill_histograms("prosody_event_loop_lag_seconds", ((), counts.lag))


def _connection_errors(counts: Counts | None, observations: Observations | None) -> Metric:
    errors: dict[str, Mapping[str, float]] = dict(counts.stream_errors) if counts else {}
    if observations is not None:
        errors["websocket"] = {**errors.get("websocket", {}), **observations.errors}
    return FAMILIES.fill("prosody_connection_errors_total", *_rows(errors))


def _bookkeeping(counts: Counts) -> Iterator[Metric]:
    yield FAMILIES.fill("prosody_exporter_instrument_version", ((), counts.version))
    yield FAMILIES.fill("prosody_exporter_sessions_settled", ((), counts.settled))
    yield FAMILIES.fill("prosody_exporter_sessions_adopted_total", ((), counts.adopted))
    yield FAMILIES.fill("prosody_exporter_session_drift_total", ((), counts.drift))
    yield FAMILIES.fill("prosody_exporter_reconciliations_total", ((), counts.sweeps))
    yield FAMILIES.fill("prosody_exporter_instrument_errors_total", ((), counts.errors))
