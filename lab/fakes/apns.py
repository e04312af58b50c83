"""A fake APNs: takes VoIP pushes over HTTP/2 and TLS as strictly as Apple does, and remembers them.

What goes wrong is up to the test.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab.fakes.http2 import Http2Server, Request

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

KEY_ID, TEAM_ID, BUNDLE_ID = "ABC123DEF4", "9ABCDE1234", "com.commeazy.app"
OLDEST = 3600.0  # seconds; Apple refuses older tokens
REQUIRED = {"apns-topic": f"{BUNDLE_ID}.voip", "apns-push-type": "voip", "apns-priority": "10"}


def make_key() -> str:
    """A .p8 file's text."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def public_key(pem: str) -> str:
    """What checks the signatures of a private key."""
    public = serialization.load_pem_private_key(pem.encode(), None).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form).decode()


@dataclass(frozen=True)
class Received:
    """One push that reached APNs, accepted or not."""

    node: str
    id: str
    expiration: float
    payload: dict[str, Any]
    token: str
    headers: dict[str, str]


class FakeApns(Http2Server):
    """APNs for one team.

    Args:
        context: TLS with ALPN h2.
        key: the .p8 file's text that provider tokens must be signed with.

    Attributes:
        answer: called for every push that is in order; the default accepts it.
        received: every push that was in order, in order of arrival.
        refusals: why requests were not in order, Apple's words.
    """

    def __init__(self, context: ssl.SSLContext, key: str) -> None:
        super().__init__(self._take, context)
        self._public = public_key(key)
        self._verified: dict[str, dict[str, Any]] = {}
        self.answer: Callable[[Request], None] = accept
        self.received: list[Received] = []
        self.refusals: list[str] = []

    def tokens(self) -> list[str]:
        """The distinct provider tokens, in order of their first use."""
        return list(dict.fromkeys(push.token for push in self.received))

    def _take(self, request: Request) -> None:
        refusal = self._refusal(request)
        if refusal is not None:
            status, reason = refusal
            self.refusals.append(reason)
            refuse(request, status, reason)
            return
        headers = request.headers
        self.received.append(
            Received(
                node=headers[":path"].removeprefix("/3/device/"),
                id=headers["apns-id"],
                expiration=float(headers["apns-expiration"]),
                payload=json.loads(request.body),
                token=headers["authorization"].removeprefix("bearer "),
                headers=headers,
            )
        )
        self.answer(request)

    def _refusal(self, request: Request) -> tuple[int, str] | None:
        """The first rule that the request breaks."""
        headers = request.headers
        node = headers.get(":path", "").removeprefix("/3/device/")
        rules = [
            (headers.get(":method") == "POST", 405, "MethodNotAllowed"),
            (headers.get(":path", "").startswith("/3/device/"), 404, "BadPath"),
            (len(node) >= 64 and set(node) <= set("0123456789abcdefABCDEF"), 400, "BadDeviceToken"),
            (all(headers.get(name) == value for name, value in REQUIRED.items()), 400, "BadTopic"),
            (_is_uuid(headers.get("apns-id", "")), 400, "BadMessageId"),
            (-1 < float(headers.get("apns-expiration", 0)) - time.time() <= 30, 400, "BadExpirationDate"),
            (0 < len(request.body) <= 5120, 413, "PayloadTooLarge"),
        ]
        for kept, status, reason in rules:
            if not kept:
                return status, reason
        return self._token_refusal(headers.get("authorization", ""))

    def _token_refusal(self, authorization: str) -> tuple[int, str] | None:
        scheme, _, token = authorization.partition(" ")
        if scheme != "bearer":
            return 403, "MissingProviderToken"
        if token not in self._verified:
            try:
                self._verified[token] = jwt.decode(
                    token, self._public, ["ES256"], options={"require": ["iss", "iat"], "verify_iat": False}
                )
                right_key = jwt.get_unverified_header(token).get("kid") == KEY_ID
            except jwt.PyJWTError:
                return 403, "InvalidProviderToken"
            if not right_key:
                return 403, "InvalidProviderToken"
        claims = self._verified[token]
        if claims["iss"] != TEAM_ID:
            return 403, "InvalidProviderToken"
        if not 0 <= time.time() + 1 - claims["iat"] <= OLDEST:
            return 403, "ExpiredProviderToken"
        return None


def accept(request: Request) -> None:
    """Answer as Apple does to a push that it will deliver."""
    request.respond(200, headers={"apns-id": request.headers["apns-id"]})


def refuse(request: Request, status: int, reason: str, **more: object) -> None:
    """Answer with an error in Apple's form; `timestamp=` for a 410."""
    request.respond(
        status, json.dumps({"reason": reason, **more}).encode(), {"apns-id": request.headers.get("apns-id", "")}
    )


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
