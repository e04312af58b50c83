"""A fake FCM: Google's OAuth token endpoint and the HTTP v1 send method over TLS, strict, with a memory.

What goes wrong is up to the test.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lab.fakes.apns import public_key
from lab.fakes.http2 import Http2Server, Request

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

PROJECT = "commeazy-lab"
EMAIL = f"push@{PROJECT}.iam.gserviceaccount.com"
SCOPES = ("https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform")
AUDIENCE = "https://oauth2.googleapis.com/token"  # what google-auth signs for, whatever the account's token_uri
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def make_account(token_uri: str) -> str:
    """A service account file's text."""
    key = rsa.generate_private_key(65537, 2048)
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
    return json.dumps(
        {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "1",
            "private_key": pem,
            "client_email": EMAIL,
            "client_id": "1",
            "token_uri": token_uri,
        }
    )


class TokenEndpoint:
    """Google's OAuth 2.0 token endpoint (RFC 7523) on a port of 127.0.0.1.

    Attributes:
        lifetime: seconds that a token is valid.
        status: 200, or the error it answers with.
        issued: every access token given out.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.lifetime = 3600
        self.status = 200
        self.issued: list[str] = []
        self.port = 0
        self.account: dict[str, str] = {}
        self._context = context
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_post("/token", self._token)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port or self.port, ssl_context=self._context).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _token(self, request: web.Request) -> web.Response:
        if self.status != 200:
            return web.json_response({"error": "backend_error"}, status=self.status)
        form = await request.post()
        public = public_key(self.account["private_key"])
        try:
            claims = jwt.decode(str(form["assertion"]), public, ["RS256"], audience=AUDIENCE)
        except (KeyError, jwt.PyJWTError) as error:
            return web.json_response({"error": "invalid_grant", "error_description": str(error)}, status=400)
        if form.get("grant_type") != GRANT or claims["iss"] != EMAIL or not set(SCOPES) & set(claims["scope"].split()):
            return web.json_response({"error": "invalid_grant"}, status=400)
        token = f"ya29.{secrets.token_urlsafe(150)}"
        self.issued.append(token)
        return web.json_response({"access_token": token, "expires_in": self.lifetime, "token_type": "Bearer"})


@dataclass(frozen=True)
class Received:
    """One push that reached FCM."""

    node: str
    data: dict[str, str]
    priority: str
    ttl: float
    message: dict[str, Any]
    headers: dict[str, str]


class FakeFcm(Http2Server):
    """FCM for one project.

    Args:
        context: TLS with ALPN h2.
        valid: tells whether an access token is one; all are by default.

    Attributes:
        answer: called for every push that is in order; the default accepts it.
        received: every push that was in order, in order of arrival.
        validated: the same of those that asked for a dry run.
        refusals: why requests were not in order.
    """

    def __init__(self, context: ssl.SSLContext, valid: Callable[[str], bool] = bool) -> None:
        super().__init__(self._take, context)
        self._valid = valid
        self.answer: Callable[[Request], None] = accept
        self.received: list[Received] = []
        self.validated: list[Received] = []
        self.refusals: list[str] = []

    def _take(self, request: Request) -> None:
        headers = request.headers
        try:
            body = json.loads(request.body)
            message = body["message"]
            ttl = re.fullmatch(r"(\d+)s", message["android"]["ttl"])
            received = Received(
                node=message["token"],
                data=message["data"],
                priority=message["android"]["priority"],
                ttl=float(ttl[1]) if ttl else -1,
                message=message,
                headers=headers,
            )
        except (ValueError, KeyError, TypeError):
            self._refuse(request, 400, "INVALID_ARGUMENT")
            return
        if headers.get(":method") != "POST" or headers.get(":path") != f"/v1/projects/{PROJECT}/messages:send":
            self._refuse(request, 404, "NOT_FOUND")
        elif headers.get("content-type") != "application/json" or not all(
            isinstance(v, str) for v in received.data.values()
        ):
            self._refuse(request, 400, "INVALID_ARGUMENT")
        elif not self._valid(headers.get("authorization", "").removeprefix("Bearer ")):
            self._refuse(request, 401, "UNAUTHENTICATED")
        else:
            (self.validated if body.get("validate_only") is True else self.received).append(received)
            self.answer(request)

    def _refuse(self, request: Request, status: int, code: str) -> None:
        self.refusals.append(code)
        refuse(request, status, code)


def accept(request: Request) -> None:
    """Answer as Google does to a message that it will deliver."""
    name = f"projects/{PROJECT}/messages/0:{time.time_ns()}"
    request.respond(200, json.dumps({"name": name}).encode(), {"content-type": "application/json"})


def refuse(request: Request, status: int, code: str, headers: dict[str, str] | None = None) -> None:
    """Answer with an error in Google's form."""
    details = [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}]
    error = {"code": status, "message": "…", "status": code, "details": details}
    request.respond(status, json.dumps({"error": error}).encode(), headers)
