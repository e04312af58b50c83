"""What one reading of Prosody says, as typed values: the JSON of reader.lua checked and unpacked. It does no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from exporters.prosody.registry import Registry, renew
from toolkit.histogram import Histogram
from toolkit.scrape import TargetError

TRANSPORTS = ("websocket", "tcp", "bosh")
SHOWS = ("available", "away", "chat", "dnd", "xa", "unavailable")

Rows = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Sessions:
    """How many sessions with a bound resource are in one place.

    Args:
        host: virtual host, the domain of the users.
        transport: one of TRANSPORTS.
        hibernated: whether the connection is gone and the session waits to be resumed (XEP-0198).
        show: one of SHOWS; "unavailable" has announced no presence.
        count: sessions.
    """

    host: str
    transport: str
    hibernated: bool
    show: str
    count: float


@dataclass(frozen=True)
class Counts:
    """What instrument.lua has counted since Prosody started; rows have their labels in the order of the contract."""

    version: int
    sessions: tuple[Sessions, ...]
    stanzas: Rows
    presence_updates: Rows
    dead_connections: Rows
    authentications: Rows
    stream_errors: Rows
    pushes: Rows
    canary_logins: Rows
    registrations: Mapping[str, float]
    wakeups: Mapping[tuple[str, str, str], float]  # by host, kind and result
    wakeup_seconds: Mapping[tuple[str, str], Histogram]  # by host and kind
    without_smacks: Mapping[str, float]
    lag: Histogram
    adopted: float
    drift: float
    sweeps: float
    errors: float
    settled: bool


@dataclass(frozen=True)
class Process:
    """What the server process uses: CPU seconds since its start, resident bytes, open files. None: not known."""

    cpu_seconds: float | None = None
    resident_bytes: float | None = None
    open_fds: float | None = None


class Setting(NamedTuple):
    """One setting in force.

    Args:
        value: seconds, a number of things, or 0 and 1 for a switch; infinite for "never".
        host: the host with this value, which is the worst where hosts differ; "*" for a setting of the whole server.
    """

    value: float
    host: str


@dataclass(frozen=True)
class Snapshot:
    """One reading of one Prosody.

    Args:
        version: of Prosody.
        start_time: of the server, seconds since 1970.
        lua_heap_bytes: what Lua's garbage collector manages.
        process: see Process.
        settings: option name -> see Setting.
        authentication: virtual host -> authentication provider in force, e.g. "internal_hashed".
        modules: host -> loaded modules; host "*" holds the global ones.
        virtual_hosts: the hosts that have users.
        counts: None while instrument.lua is not installed.
        registry: Prosody's own metrics; None when `statistics` is off.
    """

    version: str
    start_time: float
    lua_heap_bytes: float
    process: Process
    settings: Mapping[str, Setting]
    authentication: Mapping[str, str]
    modules: Mapping[str, frozenset[str]]
    virtual_hosts: tuple[str, ...]
    counts: Counts | None = None
    registry: Registry | None = None


def parse_snapshot(text: str, registry: Registry | None = None) -> Snapshot:
    """Unpack the answer of scrape.lua.

    Args:
        text: what Prosody printed and returned: the registry in the OpenMetrics text format, or nothing if only numbers
            have changed; then one line of JSON.
        registry: as it was in the last snapshot of the same connection.

    Raises TargetError("protocol_error") when the text is not such an answer.
    """
    try:
        registry_text, _, snapshot = text.rpartition("\n")
        answer: dict[str, Any] = json.loads(snapshot)
        instrument = answer.get("instrument")
        return Snapshot(
            version=str(answer["prosody_version"]),
            start_time=float(answer["start_time"]),
            lua_heap_bytes=float(answer["lua_heap_bytes"]),
            process=Process(**_row(answer["process"])),
            settings={name: Setting(float(value), str(host)) for name, (value, host) in answer["settings"].items()},
            authentication={str(host): str(provider) for host, provider in answer["authentication"].items()},
            modules={
                "*": frozenset(),
                **{host: frozenset(map(str, names)) for host, names in answer["modules"].items()},
            },
            virtual_hosts=tuple(sorted(map(str, answer["virtual_hosts"]))),
            counts=_parse_counts(instrument) if instrument else None,
            registry=renew(registry, registry_text, str(answer["registry_numbers"])),
        )
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        message = f"Prosody's answer is not a snapshot ({type(error).__name__}: {error}); is its version 13.0?"
        raise TargetError("protocol_error", message) from None


def _parse_counts(instrument: Mapping[str, Any]) -> Counts:
    counters = instrument["counters"]
    return Counts(
        version=int(instrument["version"]),
        sessions=tuple(_parse_sessions(key, count) for key, count in _row(counters["sessions"]).items()),
        stanzas=_rows(counters["stanzas"]),
        presence_updates=_rows(counters["presence_updates"]),
        dead_connections=_rows(counters["dead_connections"]),
        authentications=_rows(counters["authentications"]),
        stream_errors=_rows(counters["stream_errors"]),
        pushes=_rows(counters["pushes"]),
        canary_logins=_rows(counters["canary_logins"]),
        registrations=_row(counters["registrations"]),
        without_smacks=_row(counters["without_smacks"]),
        wakeups={
            (host, *_two(label)): count
            for host, row in _rows(counters["wakeups"]).items()
            for label, count in row.items()
        },
        wakeup_seconds={
            (host, kind): _histogram(instrument["wakeup_buckets"], histogram)
            for host, row in counters["wakeup_seconds"].items()
            for kind, histogram in row.items()
        },
        lag=_histogram(instrument["lag_buckets"], counters["lag"]),
        adopted=float(counters["adopted"]),
        drift=float(counters["drift"]),
        sweeps=float(counters["sweeps"]),
        errors=float(counters["errors"]),
        settled=bool(counters["settled"]),
    )


def _histogram(edges: Sequence[float], histogram: Mapping[str, Any]) -> Histogram:
    within = [float(count) for _, count in zip(edges, histogram["buckets"], strict=True)]
    beyond = float(histogram["count"]) - sum(within)
    return Histogram(tuple(float(edge) for edge in edges), [*within, beyond], float(histogram["sum"]))


def _two(words: str) -> tuple[str, str]:
    first, second = words.split()
    return first, second


def _rows(rows: Mapping[str, Any]) -> Rows:
    return {first: _row(row) for first, row in rows.items()}


def _row(row: Mapping[str, Any]) -> dict[str, float]:
    return {label: float(value) for label, value in row.items()}


def _parse_sessions(key: str, count: float) -> Sessions:
    host, transport, state, show = key.rsplit(" ", 3)  # Prosody takes a host name with a space in it
    return Sessions(host, transport, state == "hibernated", show, count)
