"""The words of the synthetic users: journeys, results, and the prefix of their accounts. No behaviour."""

from __future__ import annotations

# Account names begin with it, so that the Prosody exporter can leave them out of the counters of rare events. It stands
# in exporters/prosody/instrument.lua, too.
ACCOUNT_PREFIX = "synthetic-"
ANY = "any"  # in place of a node: whichever the door chooses, as it does for users

LOGIN = "login"
MESSAGE = "message"
ONLINE = "presence_online"
AWAY = "presence_away"
FORCE_QUIT = "presence_force_quit"
VANISH = "presence_vanish"
RESUME = "resume"
CREDENTIALS = "turn_credentials"
ALLOCATE = "turn_allocate"
RELAYS = {"udp": "turn_udp", "tcp": "turn_tcp", "tls": "turn_tls"}  # by transport
JOURNEYS = (LOGIN, MESSAGE, ONLINE, AWAY, FORCE_QUIT, VANISH, RESUME, CREDENTIALS, ALLOCATE, *RELAYS.values())

OK = "ok"
# Every result there is. What the errors of `xmpp.errors` have as their reason is among them.
RESULTS = {
    OK: "it happened, as promised",
    "timeout": "nothing came in time",
    "bounced": "the message came back as an error",
    "unseen": "the contact did not see the user online in the first place",
    "refused": "nothing accepts connections there, or no route leads to it",
    "dns": "the name cannot be resolved",
    "tls": "the TLS handshake failed, or the certificate is not the expected one",
    "rejected": "the door or the relay answered with another status or error code",
    "unavailable": "the door has no node for it (HTTP 503), or the server does not offer it",
    "auth": "name, password or TURN credentials were refused",
    "wrong_node": "another node served the connection",
    "disconnected": "the connection broke during the journey",
    "not_resumed": "the session was gone",
    "no_credentials": "Prosody gave no TURN credentials to try it with",
    "quota": "coturn allows no further relay (486), or has no port left for one (508)",
    "protocol": "the other side sent what the protocol does not allow",
    "suspended": "the exporter itself was suspended during the journey, so the result is unknown",
    "internal": "a bug of the exporter",
}
STAGES = ("name", "tcp", "tls", "upgrade", "sasl", "bind")
DROPPED = ("stranger", "forged", "late", "misdelivered")  # reasons to ignore a message
PACKETS = ("sent", "returned", "lost")
# By Section 11's settings a vanished phone is gone after 150 s and never before, so an alert asks for 160.
EDGES = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 30, 60, 90, 150, 160, 300)
ROUND_TRIP_EDGES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.4, 1)
