"""A message, or a call to an Android phone, as FCM wants it, and what FCM's answers mean. Pure, like `apns`."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.frames import field
from gateway.push import Answer, Kind, Outcome, Push

if TYPE_CHECKING:
    from gateway.exchange import Response
    from gateway.tokens import Minted

HOST = "fcm.googleapis.com"
TOKEN_YOUNGEST = 60.0  # seconds between two access tokens when FCM refuses one


class Fcm:
    """FCM's HTTP v1 API.

    Args:
        authority: FCM's host name.
    """

    def __init__(self, authority: str) -> None:
        self._first = field(":method", "POST") + field(":scheme", "https") + field(":authority", authority)
        self._always = field("content-type", "application/json")

    def compose(self, push: Push, minted: Minted, remaining: float) -> tuple[bytes, bytes]:
        """The request (Firebase, "projects.messages.send"); `ttl` is what is left. Nothing in it is personal."""
        block = self._first + _place(minted) + self._always
        data = {"type": "new-message"}
        if push.kind is Kind.CALL:
            data = {"type": "incoming-call", "expires": str(int(push.expires))}
        android = {"priority": "high", "ttl": f"{math.ceil(remaining)}s"}
        return block, json.dumps({"message": {"token": push.node, "data": data, "android": android}}).encode()

    def understand(self, response: Response) -> Answer:
        """The meaning of an answer (Firebase, "ErrorCode")."""
        if response.status == 200:
            return Answer(Outcome.SENT)
        reason = _reason(response)
        match response.status, reason:
            case 404, "UNREGISTERED":
                return Answer(Outcome.UNREGISTERED, reason)
            case 429, _:
                return Answer(None, reason, response.retry_after)
            case status, _ if status >= 500:  # 500 and 503 are FCM's own, 502 and 504 Google's front ends'
                return Answer(None, reason, response.retry_after, faulty=True)
            case 401, "UNAUTHENTICATED":
                return Answer(Outcome.REJECTED, reason, faulty=True, token_refused=True)
        return Answer(Outcome.REJECTED, reason, faulty=reason in ("PERMISSION_DENIED", "THIRD_PARTY_AUTH_ERROR"))


def _reason(response: Response) -> str:
    """FCM's own error code if there is one, else Google's status."""
    error = response.json().get("error")
    if not isinstance(error, dict):
        return f"status_{response.status}"
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and "errorCode" in detail:
            return str(detail["errorCode"])
    return str(error.get("status", f"status_{response.status}"))


@lru_cache(maxsize=1)
def _place(minted: Minted) -> bytes:
    path = f"/v1/projects/{minted.project}/messages:send"
    return field(":path", path) + field("authorization", f"Bearer {minted.token}")
