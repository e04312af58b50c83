"""Alerts about what test users get: messages, logins, presence, relays, and whether they still try."""

from typing import Final

from alerts.catalogue.alert import Alert

_OVERVIEW: Final = "prosody-overview"
_PRESENCE: Final = "presence-health"
_COTURN: Final = "coturn"
_SOURCE: Final = "job, instance, vantage"
_BAD: Final = 'result!~"ok|suspended"'  # what the exporter itself missed is neither a success nor a failure


def _failing(journey: str, by: str, bad: str = _BAD) -> str:
    """Return the share of tries of a journey in the window that ended badly."""
    by = f"sum by ({_SOURCE}, {by})"
    return (
        f"{by} (increase(synthetic_journeys_total{{{journey},{bad}}}[<window>]))\n/\n"
        f'{by} (increase(synthetic_journeys_total{{{journey},result!="suspended"}}[<window>])) > <value>'
    )


def _seen(journey: str, edge: str) -> str:
    """Return the share of tries in the window whose contact had seen the user go by the edge, in seconds."""
    by = f"sum by ({_SOURCE}, from, to)"
    return (
        f'{by} (increase(synthetic_journey_seconds_bucket{{journey="{journey}",le="{edge}"}}[<window>]))\n/\n'
        f'{by} (increase(synthetic_journeys_total{{journey="{journey}",result=~"ok|timeout"}}[<window>])) < <value>'
    )


ALERTS: Final = (
    Alert(
        name="SyntheticMessagesFailing",
        expr=_failing('journey="message"', "from, to"),
        summary=(
            "{{ $labels.from }} to {{ $labels.to }}: {{ $value | humanizePercentage }} of messages do not arrive "
            "(limit <limit>)"
        ),
        description=(
            "Users of these nodes lose messages and calls. See the results, and whether only pairs of different "
            "nodes fail."
        ),
        dashboard=_OVERVIEW,
        variable=None,
    ),
    Alert(
        name="SyntheticLoginsFailing",
        expr=_failing('journey="login"', "to"),
        summary="{{ $labels.to }}: {{ $value | humanizePercentage }} of logins through HAProxy fail (limit <limit>)",
        description=(
            "Users cannot log in there. See the results (dns, tls, auth, ...); look at HAProxy, Prosody and PostgreSQL."
        ),
        dashboard=_OVERVIEW,
        variable=None,
    ),
    Alert(
        name="SyntheticPresenceLate",
        expr=_seen("presence_force_quit", "90.0"),
        summary=(
            "{{ $labels.from }} to {{ $labels.to }}: {{ $value | humanizePercentage }} of users whose connection "
            "broke were seen as gone within 90 s (needs <limit>)"
        ),
        description=(
            "Contacts call users who are gone. Look at smacks_hibernation_time and at Prosody's event loop on both "
            "nodes."
        ),
        dashboard=_PRESENCE,
        variable=None,
        labels={"journey": "presence_force_quit"},
    ),
    Alert(
        name="SyntheticPresenceLate",
        expr=_seen("presence_vanish", "160.0"),
        summary=(
            "{{ $labels.from }} to {{ $labels.to }}: {{ $value | humanizePercentage }} of users whose phone vanished "
            "were seen as gone within 160 s (needs <limit>)"
        ),
        description=(
            "Contacts call users who are gone. Look at read_timeout; Prosody 13.0.1 with mod_limits never notices a "
            "vanished phone."
        ),
        dashboard=_PRESENCE,
        variable=None,
        labels={"journey": "presence_vanish"},
    ),
    Alert(
        name="PresenceBoundHigh",
        expr=(
            '2 * prosody_setting{name="read_timeout"} + ignoring (name, host) '
            'prosody_setting{name="smacks_hibernation_time"} > <value>'
        ),
        summary="{{ $labels.instance }}: a vanished phone stays online for up to {{ $value }} s (promised <limit>)",
        description=(
            "Contacts call users who are gone. Lower read_timeout, which counts twice, or smacks_hibernation_time."
        ),
        dashboard=_PRESENCE,
    ),
    Alert(
        name="SyntheticTurnCredentialsFailing",
        expr=_failing('journey="turn_credentials"', "from"),
        summary=(
            "{{ $labels.from }}: {{ $value | humanizePercentage }} of requests for TURN credentials fail "
            "(limit <limit>)"
        ),
        description=(
            "Calls that need a relay fail. See whether mod_turn_external is loaded and turn_external_secret is set."
        ),
        dashboard=_COTURN,
        variable=None,
        labels={"journey": "turn_credentials"},
    ),
    Alert(
        name="SyntheticTurnCredentialsFailing",
        expr=_failing('journey="turn_allocate"', "from, to", bad='result="auth"'),
        summary=(
            "{{ $labels.to }} refuses {{ $value | humanizePercentage }} of the TURN credentials of {{ $labels.from }} "
            "(limit <limit>)"
        ),
        description=(
            "Calls that need a relay fail. Compare turn_external_secret in Prosody with static-auth-secret in coturn."
        ),
        dashboard=_COTURN,
        variable=None,
        labels={"journey": "turn_allocate"},
    ),
    Alert(
        name="SyntheticRelayLosesMedia",
        expr=(
            f"sum by ({_SOURCE}, to, transport) "
            '(increase(synthetic_turn_packets_total{result="lost"}[<window>]))\n/\n'
            f"sum by ({_SOURCE}, to, transport) "
            '(increase(synthetic_turn_packets_total{result="sent"}[<window>])) > <value>'
        ),
        summary=(
            "{{ $labels.to }} loses {{ $value | humanizePercentage }} of packets over {{ $labels.transport }} "
            "(limit <limit>)"
        ),
        description="Relayed calls stutter or fall silent. Look at the node's network, its bandwidth and its CPU.",
        dashboard=_COTURN,
        variable=None,
        labels={"of": "packets"},
    ),
    # A relay that cannot be had at all loses no packet, because none is sent.
    Alert(
        name="SyntheticRelayLosesMedia",
        expr=_failing('journey=~"turn_(udp|tcp|tls)"', "to, journey", bad='result!~"ok|suspended|no_credentials"'),
        summary=(
            "{{ $labels.to }}: {{ $value | humanizePercentage }} of tries to relay media fail, {{ $labels.journey }} "
            "(limit <limit>)"
        ),
        description=(
            "Calls through this relay fail. See the results: refused and tls mean the listener, rejected means "
            "denied-peer-ip."
        ),
        dashboard=_COTURN,
        variable=None,
        labels={"of": "tries"},
    ),
    # Not while the exporter is young: the window has to be full.
    Alert(
        name="SyntheticJourneysMissing",
        expr="instance_journey:synthetic_tries:ratio < <value>\nand on (job, instance) up offset <window> == 1",
        summary=(
            "{{ $labels.journey }}: only {{ $value | humanizePercentage }} of the tries were made (needs <limit>)"
        ),
        description=(
            "Failures may go unnoticed. Look at the exporter's CPU, its log and synthetic_exporter_stalls_total."
        ),
        dashboard=_OVERVIEW,
        variable=None,
    ),
    Alert(
        name="SyntheticForeignSession",
        expr="synthetic_foreign_sessions > 0",
        summary="{{ $value }} sessions of test accounts are somebody else's",
        description="Somebody knows a test account's password. Change the passwords of all test accounts.",
        dashboard=_OVERVIEW,
        variable=None,
    ),
)
