"""Builds APNs requests for calls and reads APNs' answers. Pure: `handler` sends and retries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.answers import ACCEPTED, APNS, Meaning, judge
from gateway.exchange import Request
from gateway.push import Purpose

if TYPE_CHECKING:
    from gateway.exchange import Response
    from gateway.push import Push
    from gateway.tokens import Minted

HOSTS = {"production": "api.push.apple.com", "sandbox": "api.sandbox.push.apple.com"}
TOKEN_YOUNGEST = 20 * 60.0  # seconds; Apple refuses new tokens that come faster


class Apns:
    """VoIP pushes for one app.

    Args:
        authority: APNs' host name.
        bundle_id: the app's; the topic is its `.voip`.
    """

    def __init__(self, authority: str, bundle_id: str) -> None:
        self._first = ((":method", "POST"), (":scheme", "https"), (":authority", authority))
        self._always = (
            ("apns-topic", f"{bundle_id}.voip"),
            ("apns-push-type", "voip"),
            ("apns-priority", "10"),
        )

    def compose(self, push: Push, minted: Minted, remaining: float) -> Request:  # noqa: ARG002 - expiry is absolute here
        """Return the request (Apple, "Sending notification requests to APNs").

        The payload says when to stop ringing, because Apple may deliver late despite the header. It holds no personal
        data.
        """
        fields = (
            *self._first,
            (":path", f"/3/device/{push.node}"),
            ("authorization", f"bearer {minted.token}"),
            *self._always,
            ("apns-expiration", str(int(push.expires))),
            ("apns-id", push.id),
        )
        word = b"incoming-call" if push.purpose is Purpose.USER else b"canary"
        return Request(fields, b'{"aps":{},"type":"%s","expires":%d}' % (word, push.expires))

    def understand(self, response: Response, push: Push) -> Meaning:  # noqa: ARG002 - APNs answers calls only
        """Return the meaning of an answer (Apple, "Handling notification responses from APNs")."""
        if response.status == 200:
            return ACCEPTED
        body = response.json()
        fault, word = judge(APNS, response.status, str(body.get("reason", "")))
        since = _time(body.get("timestamp")) if response.status == 410 else None
        return Meaning(fault, word, response.retry_after or 0.0, since)


def _time(milliseconds: object) -> float | None:
    """Return Unix time in seconds, None if the value is not a time."""
    if type(milliseconds) is int and 0 < milliseconds < 2**53:
        return milliseconds / 1000
    return None
