"""Builds FCM requests for messages and for calls to Android, and reads FCM's answers. Pure, like `apns`."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from gateway.answers import ACCEPTED, FCM, Fault, Meaning, judge
from gateway.exchange import Request
from gateway.push import Kind, Purpose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.exchange import Response
    from gateway.push import Push
    from gateway.tokens import Minted

HOST = "fcm.googleapis.com"
TOKEN_YOUNGEST = 60.0  # seconds between two access tokens when FCM refuses one

# Seconds to wait after a 429 without Retry-After. Google asks for at least a minute. A message has expired by then and
# is not sent again. The quota is refilled every minute, so a call, which lives for 30 s, gets a few more tries.
QUOTA_PAUSE = {Kind.MESSAGE: 60.0, Kind.CALL: 5.0}

_TOKEN_FIELDS = ("message.token", "message.fid")


class Fcm:
    """FCM's HTTP v1 API.

    Args:
        authority: FCM's host name.
    """

    def __init__(self, authority: str) -> None:
        self._first = ((":method", "POST"), (":scheme", "https"), (":authority", authority))

    def compose(self, push: Push, minted: Minted, remaining: float) -> Request:
        """Return the request (Firebase, "projects.messages.send"); `ttl` is the time left. No personal data."""
        data = {"type": "new-message"}
        if push.kind is Kind.CALL:
            data = {"type": "incoming-call", "expires": str(int(push.expires))}
        if push.purpose is not Purpose.USER:
            data = {"type": "canary"}
        android = {"priority": "high", "ttl": f"{math.ceil(remaining)}s"}
        request: dict[str, Any] = {"message": {"token": push.node, "data": data, "android": android}}
        if push.purpose is Purpose.DRY_RUN:
            request["validate_only"] = True
        fields = (
            *self._first,
            (":path", f"/v1/projects/{minted.project}/messages:send"),
            ("authorization", f"Bearer {minted.token}"),
            ("content-type", "application/json"),
        )
        return Request(fields, json.dumps(request).encode())

    def understand(self, response: Response, push: Push) -> Meaning:
        """Return the meaning of an answer (Firebase, "ErrorCode")."""
        if response.status == 200:
            return ACCEPTED
        fault, word = judge(FCM, response.status, _word(response))
        wait = response.retry_after
        if wait is None:
            wait = QUOTA_PAUSE[push.kind] if fault is Fault.BUSY else 0.0
        return Meaning(fault, word, wait)


def _word(response: Response) -> str:
    """Return FCM's error code if there is one, else Google's status; INVALID_TOKEN if the token is invalid."""
    error = response.json().get("error")
    if not isinstance(error, dict):
        return ""
    found = error.get("details")
    details = [detail for detail in found if isinstance(detail, dict)] if isinstance(found, list) else []
    codes = [str(detail["errorCode"]) for detail in details if "errorCode" in detail]
    word = codes[0] if codes else str(error.get("status", ""))
    if word == "INVALID_ARGUMENT" and _is_about_the_token(details, named=bool(codes)):
        return "INVALID_TOKEN"
    return word


def _is_about_the_token(details: Sequence[dict[str, Any]], *, named: bool) -> bool:
    """Tell whether an INVALID_ARGUMENT is about the token.

    For any other wrong value, a google.rpc.BadRequest names the field. For a wrong token there is no BadRequest, only
    FCM's own error code (Firebase, "FCM error codes"), or the BadRequest names the token.
    """
    violations = [detail["fieldViolations"] for detail in details if isinstance(detail.get("fieldViolations"), list)]
    fields = [item.get("field") for found in violations for item in found if isinstance(item, dict)]
    return all(field in _TOKEN_FIELDS for field in fields) if fields else named
