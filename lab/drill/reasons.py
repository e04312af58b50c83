"""Reasons that several drills have in common: where a fault is seen, and which alerts fire beside it."""

from __future__ import annotations

ON_1 = {"instance": "prosody1"}
ON_2 = {"instance": "prosody2"}
GROWN = "sessions have grown within a minute, which is the window here"
ONE_NODE_LEFT = "one node is left behind HAProxy"
NO_DOOR = "the node's own port is gone with it"
SLOW_TRIES = {"SyntheticJourneysMissing": "a try that waits takes longer than its interval, which is short here"}
NO_LOGINS = {"SyntheticLoginsFailing": "test users cannot log in either"}
NOBODY_THERE = {
    **NO_LOGINS,
    "SyntheticMessagesFailing": "test users lose messages, too",
    "SyntheticTurnCredentialsFailing": "test users get no TURN credentials either",
}
TURNED_AWAY = {
    "HaproxyErrorsHigh": "HAProxy answers 503 for a node that is gone",
    "HaproxyRetriesHigh": "HAProxy tries it until its check has failed",
}
NO_RELAY = {"SyntheticRelayLosesMedia": "test users get no relay either"}
LATE = {"SyntheticPresenceLate": "what contacts see waits for the loop, too"}
VANISHED = {"SyntheticPresenceLate": "a test user vanished while a drill had set a longer read_timeout"}
