"""A call as APNs wants it, and what APNs' answers mean. Pure: sending is `provider`'s, retrying `delivery`'s."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.frames import field
from gateway.push import Answer, Outcome, Push

if TYPE_CHECKING:
    from gateway.exchange import Response
    from gateway.tokens import Minted

HOSTS = {"production": "api.push.apple.com", "sandbox": "api.sandbox.push.apple.com"}
TOKEN_YOUNGEST = 20 * 60.0  # seconds; Apple refuses new tokens that come faster

_TOKEN_REFUSED = frozenset({"ExpiredProviderToken", "InvalidProviderToken", "MissingProviderToken"})


class Apns:
    """VoIP pushes for one app.

    Args:
        authority: APNs' host name.
        bundle_id: the app's; the topic is its `.voip`.
    """

    def __init__(self, authority: str, bundle_id: str) -> None:
        self._first = field(":method", "POST") + field(":scheme", "https") + field(":authority", authority)
        self._always = (
            field("apns-topic", f"{bundle_id}.voip") + field("apns-push-type", "voip") + field("apns-priority", "10")
        )

    def compose(self, push: Push, minted: Minted, remaining: float) -> tuple[bytes, bytes]:  # noqa: ARG002 - expiry is absolute here
        """The request (Apple, "Sending notification requests to APNs").

        The payload tells when to stop ringing, since Apple may deliver late whatever the header says. Nothing in it is
        personal.
        """
        block = (
            self._first
            + field(":path", f"/3/device/{push.node}")
            + _authorization(minted.token)
            + self._always
            + field("apns-expiration", str(int(push.expires)))
            + field("apns-id", push.id)
        )
        return block, b'{"aps":{},"type":"incoming-call","expires":%d}' % push.expires

    def understand(self, response: Response) -> Answer:
        """The meaning of an answer (Apple, "Handling notification responses from APNs")."""
        if response.status == 200:
            return Answer(Outcome.SENT)
        body = response.json()
        reason = str(body.get("reason", f"status_{response.status}"))
        match response.status:
            case 410:
                return Answer(Outcome.UNREGISTERED, reason, since=_time(body.get("timestamp")))
            case 429:
                return Answer(None, reason, response.retry_after)  # too many to one device: not APNs' fault
            case status if status >= 500:  # 500 and 503 are APNs' own, 502 and 504 a proxy's
                return Answer(None, reason, response.retry_after, faulty=True)
        refused = reason in _TOKEN_REFUSED
        return Answer(Outcome.REJECTED, reason, faulty=refused, token_refused=refused)


def _time(milliseconds: object) -> float | None:
    """Unix time, None if it is none."""
    if type(milliseconds) is int and 0 < milliseconds < 2**53:
        return milliseconds / 1000
    return None


@lru_cache(maxsize=1)
def _authorization(token: str) -> bytes:
    return field("authorization", f"bearer {token}")
