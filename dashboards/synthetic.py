"""Panels about what test users get, which several dashboards show; their variable is `exporter`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.limits import Limits, above, below, threshold
from dashboards.page import Row, folded, row
from dashboards.panels import series
from dashboards.pieces import Look, Query

if TYPE_CHECKING:
    from dashboards.panels import Panel

_UP = 'up{job="synthetic",instance=~"$exporter"}'
_TRIES = "synthetic_journeys_total"
_BAD = 'result!~"ok|suspended|no_credentials"'
_REFUSED = 'result="auth"'
_SEEN = 'result!="suspended"'
_NONE = "there are no test users, or none has tried yet"


def _rate(metric: str, where: str, by: str) -> str:
    matchers = f'{where},instance=~"$exporter"' if where else 'instance=~"$exporter"'
    return f"sum by (instance, {by}) (rate({metric}{{{matchers}}}[$__rate_interval]))"


def _share(journey: str, by: str, bad: str) -> str:
    """Return the share of tries that ended badly; what the exporter itself missed does not count."""
    return f"{_rate(_TRIES, f'{journey},{bad}', by)} / {_rate(_TRIES, f'{journey},{_SEEN}', by)}"


def _failing(title: str, about: str, journey: str, by: str, limits: Limits) -> Panel:
    legend = " ".join(f"{{{{{label}}}}}" for label in ("instance", *by.split(", ")))
    return series(title, about, "percentunit", Query(_share(journey, by, _BAD), legend), limits=limits, empty=_NONE)


def _p99(title: str, about: str, histogram: str, where: str, by: str) -> Panel:
    legend = " ".join(f"{{{{{label}}}}}" for label in ("instance", *by.split(", ")))
    expr = f"histogram_quantile(0.99, {_rate(histogram + '_bucket', where, by + ', le')})"
    return series(title, about, "s", Query(expr, legend))


def messages_and_logins() -> tuple[Row, Row]:
    """Return what users of the nodes get from each other, and at the door."""
    missing = threshold("SyntheticJourneysMissing")
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
        series(
            "Tries made, of those configured",
            f"In {missing.window}, of the pair of places with the fewest, for each journey; somewhat above 100 % is "
            "usual. Below the limit failures may go unseen.",
            "percentunit",
            Query(
                'min by (instance, journey) (instance_journey:synthetic_tries:ratio{instance=~"$exporter"})'
                f" and on (instance) {_UP} == 1 and on (instance) {_UP} offset {missing.window} == 1",
                "{{instance}} {{journey}}",
            ),
            limits=below("SyntheticJourneysMissing"),
            empty=f"{missing.window} has not been measured yet",
        ),
        series(
            "Sessions of others",
            "Sessions of the test accounts that no synthetic-user exporter opened: somebody has a password.",
            "locale",
            'sum by (instance) (synthetic_foreign_sessions{instance=~"$exporter"})',
        ),
    )


def login_stages() -> Panel:
    """Return how long each stage of a login takes; the variable is `users`, beside another exporter's."""
    stages = 'synthetic_login_stage_seconds_bucket{instance=~"$users"}'
    rate = f"sum by (instance, stage, le) (rate({stages}[$__rate_interval]))"
    return series(
        "Stages of a login, P99",
        "By test users. name, tcp, tls and upgrade are the door; sasl and bind are Prosody and its database.",
        "s",
        Query(f"histogram_quantile(0.99, {rate})", "{{instance}} {{stage}}"),
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
            Query(f"{seen} / {tried}", "{{instance}} {{from}} {{to}}"),
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
            "Silent phones seen within 160 s",
            "A test user falls silent while the socket stays; a contact sees the user go. Section 11 allows 150 s.",
            "presence_vanish",
            "160.0",
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
            "Of 50 a second for two seconds, through a relay to its own address and back. No line: there was no relay, "
            "as the next panel says.",
            "percentunit",
            Query(f"{lost} / {sent}", "{{instance}} {{to}} {{transport}}"),
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
        series(
            "Credentials missing or refused",
            "Missing: Prosody gives none. Refused: coturn does not take those that this Prosody gives.",
            "percentunit",
            Query(_share('journey="turn_credentials"', "from", _BAD), "{{instance}} {{from}} missing"),
            Query(
                _share('journey="turn_allocate"', "from, to", 'result="auth"'),
                "{{instance}} {{from}} {{to}} refused",
                Look.DASHED,
            ),
            limits=above("SyntheticTurnCredentialsFailing"),
            empty=_NONE,
        ),
    )
