"""Panels about what test users get, which several dashboards show; their variable is `exporter`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.limits import Limits, above, below, none_may_be
from dashboards.page import Row, folded, row
from dashboards.panels import series
from dashboards.pieces import Query

if TYPE_CHECKING:
    from dashboards.panels import Panel

_TRIES = "synthetic_journeys_total"
_NONE = "No test users, or none has tried yet."


def _rate(metric: str, where: str, by: str) -> str:
    matchers = f'{where},instance=~"$exporter"' if where else 'instance=~"$exporter"'
    return f"sum by (instance, {by}) (rate({metric}{{{matchers}}}[$__rate_interval]))"


def _failing(title: str, about: str, journey: str, by: str, limits: Limits | None = None) -> Panel:
    """Return the share of tries that ended badly; what the exporter itself missed does not count."""
    bad = _rate(_TRIES, f'{journey},result!~"ok|suspended|no_credentials"', by)
    tried = _rate(_TRIES, f'{journey},result!="suspended"', by)
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return series(title, about, "percentunit", Query(f"{bad} / {tried}", legend), limits=limits, empty=_NONE)


def _p99(title: str, about: str, histogram: str, where: str, by: str) -> Panel:
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    expr = f"histogram_quantile(0.99, {_rate(histogram + '_bucket', where, by + ', le')})"
    return series(title, about, "s", Query(expr, legend), empty=_NONE)


def messages_and_logins() -> tuple[Row, Row]:
    """Return what users of the nodes get from each other, and at the door."""
    return row(
        "What users get, by test users",
        _failing(
            "Messages that do not arrive",
            "From a user of one node to one of another. All of a pair of different nodes: the nodes do not know each "
            "other's users.",
            'journey="message"',
            "from, to",
            above("SyntheticMessagesFailing"),
        ),
        _p99(
            "Messages, sent to received, P99",
            "Of those that arrive. Promised: 0.1 s.",
            "synthetic_journey_seconds",
            'journey="message"',
            "from, to",
        ),
        _failing(
            "Logins that fail",
            "Through the users' own door, at each node, and at the one that the door chooses (any).",
            'journey="login"',
            "to",
            above("SyntheticLoginsFailing"),
        ),
    ), folded(
        "Are the test users well?",
        _p99(
            "Stages of a login, P99",
            "name, tcp, tls and upgrade are the door; sasl and bind are Prosody and its database.",
            "synthetic_login_stage_seconds",
            "",
            "stage",
        ),
        series(
            "Tries made, of those configured",
            "Each journey between the same places. Below: failures may go unseen.",
            "percentunit",
            Query(
                _rate(_TRIES, 'result!="suspended"', "journey, from, to")
                + " * on (instance, journey) group_left () max by (instance, journey) "
                '(synthetic_journey_interval_seconds{instance=~"$exporter"})',
                "{{journey}} {{from}} {{to}}",
            ),
            limits=below("SyntheticJourneysMissing"),
            empty=_NONE,
        ),
        series(
            "Sessions of others",
            "Sessions of the test accounts that no synthetic-user exporter opened: somebody has a password.",
            "none",
            'synthetic_foreign_sessions{instance=~"$exporter"}',
            limits=none_may_be("SyntheticForeignSession"),
            empty=_NONE,
        ),
    )


def gone_in_time() -> Row:
    """Return how soon contacts see that a user is gone."""

    def seen(title: str, about: str, journey: str, edge: str) -> Panel:
        seen = _rate("synthetic_journey_seconds_bucket", f'journey="{journey}",le="{edge}"', "from, to")
        tried = _rate(_TRIES, f'journey="{journey}",result=~"ok|timeout"', "from, to")
        return series(
            title,
            about,
            "percentunit",
            Query(f"{seen} / {tried}", "{{from}} {{to}}"),
            limits=below("SyntheticPresenceLate"),
            empty=_NONE,
        )

    return row(
        "Measured by test users",
        seen(
            "Broken connections seen within 90 s",
            "A test user's connection breaks; a contact sees the user go.",
            "presence_force_quit",
            "90.0",
        ),
        seen(
            "Silent phones seen within 150 s",
            "A test user falls silent while the socket stays; a contact sees the user go.",
            "presence_vanish",
            "150.0",
        ),
        _p99(
            "Until a contact sees it, P99",
            "Beside the computed time above. presence_online and presence_away are immediate.",
            "synthetic_journey_seconds",
            'journey=~"presence_.*"',
            "journey, from, to",
        ),
    )


def media() -> Row:
    """Return what calls get from a relay."""
    lost, sent = (
        _rate("synthetic_turn_packets_total", f'result="{result}"', "to, transport") for result in ("lost", "sent")
    )
    return row(
        "Relayed media, by test users",
        series(
            "Packets lost",
            "Of 50 a second for two seconds, from one relay on the server to another and back.",
            "percentunit",
            Query(f"{lost} / {sent}", "{{to}} {{transport}}"),
            limits=above("SyntheticRelayLosesMedia"),
            empty=_NONE,
        ),
        _failing(
            "Tries to relay that fail",
            "No relay, or no packet came back.",
            'journey=~"turn_(udp|tcp|tls)"',
            "journey, to",
            above("SyntheticRelayLosesMedia"),
        ),
        _failing(
            "Credentials missing or refused",
            "turn_credentials: Prosody gives none. turn_allocate: coturn refuses what that Prosody gives.",
            'journey=~"turn_credentials|turn_allocate"',
            "journey, from, to",
            above("SyntheticTurnCredentialsFailing"),
        ),
    )
