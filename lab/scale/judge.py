"""Judges a run by what the specification promises and by what is true. Pure: it measures nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MESSAGE_P99 = 0.1  # seconds: Section 1
PUSH_P99 = 2.0  # seconds: Section 1
SESSION = 100_000  # bytes of a Prosody's memory: Section 16
_NOT_THERE = ("out", "connecting", "login")
_VISITS = 3  # sessions of test users that are ending at any moment, for each node: some take minutes to
# Alerts that are right whenever they fire, and those that a lost node causes without naming it; and why.
_ANYTIME: Final = {
    "ProsodyEventLoopSlow": "everybody came at once",
    "HostProcessorBusy": "users and servers share two cores",
    "PresenceBoundHigh": "by the specification's own times a silent phone looks online for 150 s",
}
_WITHOUT_NAME: Final = {
    "ProsodyEventLoopSlow": "the others take the users of the lost node, all at once",
    "HaproxyNoNodes": "so many came at once that the nodes left missed HAProxy's checks",
    "HaproxyBackendNodesLow": "a node is lost",
    "HaproxyErrorsHigh": "HAProxy answers 503 for a node that is gone",
    "HaproxyRetriesHigh": "HAProxy tries it until its check has failed",
    "KnownCause": "the lost node is the cause",
    "SyntheticMessagesFailing": "the test users who come as all users do were on the lost node",
    "SyntheticLoginsFailing": "the test users who come as all users do were sent to the lost node",
    "SyntheticTurnCredentialsFailing": "likewise",
    "SyntheticPresenceLate": "their contacts were on the lost node",
}


@dataclass(frozen=True)
class Judgement:
    """One promise, and whether it was kept.

    Args:
        what: it is, in words.
        kept: whether.
        found: what was found.
        speed: whether a slower machine alone could break it.
    """

    what: str
    kept: bool
    found: str
    speed: bool = False


def of_life(lived: Mapping[str, Any]) -> list[Judgement]:
    """Judge what users got while they lived."""
    counts, p99 = lived["counts"], lived["message_seconds"]["p99"]
    sent, delivered, bounced = (counts.get(what, 0) for what in ("sent", "delivered", "bounced"))
    broken, out = sum(lived["failures"].values()), sum(lived["phases"].get(phase, 0) for phase in _NOT_THERE)
    return [
        Judgement(
            "no connection is lost that a user did not break",
            not broken and not out,
            f"{broken} were lost, {out} users are out",
        ),
        Judgement(
            "no message is lost",
            sent == delivered and sent > 0,
            f"{sent} sent, {delivered} received, {bounced} came back",
        ),
        Judgement(
            "messages take less than 100 ms (P99)",
            p99 is not None and p99 < MESSAGE_P99,
            "unknown" if p99 is None else f"{p99 * 1000:.0f} ms",
            speed=True,
        ),
    ]


def of_truth(result: Mapping[str, Any]) -> list[Judgement]:
    """Judge whether every source counts what is there."""
    truth, said = result["truth"], result["sources"]
    residents = said["test users' sessions"] or 0
    visits = _VISITS * (result["nodes"] + 1)
    opened, asleep = truth.get("open", 0), truth.get("asleep", 0)
    expected = {
        "Prosody's own list": opened + asleep + residents,
        "`prosody_c2s_sessions`": opened + asleep + residents,
        "`prosody_c2s_hibernated_sessions`": asleep,
        "`haproxy_frontend_current_sessions`": opened + residents,
    }
    return [
        Judgement(
            f"{source} counts {wanted:.0f} sessions",
            said[source] is not None and abs(said[source] - wanted) <= visits,
            "nothing" if said[source] is None else f"{said[source]:.0f}",
        )
        for source, wanted in expected.items()
    ]


def of_memory(result: Mapping[str, Any]) -> list[Judgement]:
    """Judge what a session takes of its Prosody's memory."""
    grown = sum(result["memory_full"].values()) - sum(result["memory_empty"].values())
    each = grown / max(sum(result["by_prosody"].values()), 1)
    return [Judgement("a session takes at most 100 KB of its Prosody", each <= SESSION, f"{each / 1000:.0f} KB")]


def of_loss(result: Mapping[str, Any]) -> list[Judgement]:
    """Judge what a lost node did."""
    lost = result["lost"]
    wrong = [text for alert in result["alerts"] if not (text := why(alert, result))[1]]
    return [
        Judgement(
            f"the {lost['sessions']} users of a node that is killed come back",
            lost["all_back"],
            f"after {lost['seconds']:.0f} s",
        ),
        Judgement("every alert that fired was right", not wrong, f"{len(wrong)} were not"),
    ]


def of_pushes(result: Mapping[str, Any]) -> list[Judgement]:
    """Judge how long a call took to the provider; nothing if there was none."""
    p99 = result["asked"]["push_p99"]
    if p99 is None:
        return []
    return [Judgement("pushes take less than 2 s (P99)", p99 < PUSH_P99, f"{p99 * 1000:.0f} ms", speed=True)]


def of_run(result: Mapping[str, Any]) -> list[Judgement]:
    """Judge a whole run in the lab."""
    return [
        *of_truth(result),
        *of_memory(result),
        *of_life(result["lived"]),
        *of_pushes(result),
        *of_loss(result),
    ]


def why(alert: Mapping[str, Any], result: Mapping[str, Any]) -> tuple[str, bool]:
    """Return what an alert's cause is, and whether it was right to fire."""
    labels, node = alert["labels"], result["lost"]["node"]
    if alert["from"] < result["killed_at"]:
        reason = _ANYTIME.get(labels["alertname"])
        return reason or "before anything was broken", reason is not None
    if any(node in value for value in labels.values()):
        return f"{node} was killed", True
    if (reason := (_ANYTIME | _WITHOUT_NAME).get(labels["alertname"])) is not None:
        return reason, True
    return "no cause is known", False
