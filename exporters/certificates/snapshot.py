"""The results of all targets at one moment, as plain values: from the client and the prober to the collector."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from exporters.certificates.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Chain:
    """The certificates a server sends or a file holds.

    Args:
        certificates: in that order, the leaf first.
        reasons: what is wrong with them, of `trust.REASONS`; empty if nothing is, None if they could not be judged.
        first: of the certificates that matter, the one that expires first.
        unreadable: how many more there are that cannot be read.
    """

    certificates: tuple[Certificate, ...]
    reasons: tuple[str, ...] | None
    first: Certificate
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """The result of one probe of a target.

    Args:
        chains: by file path; a served chain under "", or under the kind of key it was asked for by.
        serves_file: whether the served leaf is the file's; None if there is no such file or it could not be read.
        weak: by offer of `handshake.WEAK`, whether the server accepts a handshake with nothing else; no entry: unknown.
        weak_at: when that was tried, in seconds since 1970.
        failure: a reason of `client.REASONS` and one line for the log, if the probe was incomplete.
    """

    chains: Mapping[str, Chain]
    serves_file: bool | None = None
    weak: Mapping[str, bool] = field(default_factory=dict)
    weak_at: float = 0.0
    failure: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a target.

    Args:
        target: its name.
        observation: the last one with certificates; None if there was none yet.
        failure: why the last probe failed, of `client.REASONS`; None if it succeeded.
        probed_at: when the last probe ended, in seconds since 1970.
        duration: seconds it took.
    """

    target: str
    observation: Observation | None
    failure: str | None
    probed_at: float
    duration: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The data of one scrape.

    Args:
        now: the time from which days are counted.
        standings: of the targets that were probed at least once.
        targets: how many the configuration has, by kind.
    """

    now: datetime
    standings: tuple[Standing, ...]
    targets: Mapping[str, int]
