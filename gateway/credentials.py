"""Turns a private key into a short-lived token, in a process of its own: `python -m gateway.credentials apns|fcm …`.

This keeps its libraries (29 MiB), the key and a blocking token endpoint out of the gateway's process (see `tokens`).
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from datetime import UTC
from pathlib import Path
from typing import Any

BAD = 2  # exit code: the file or the account is wrong; a person must act
LATER = 3  # exit code: the token endpoint does not answer; trying again may help

JWT_LIFETIME = 55 * 60  # seconds; Apple refuses older than an hour


class BadKeyError(Exception):
    """One line: what is wrong with which file."""


class UnreachableError(Exception):
    """One line: which endpoint gave no token."""


def apns(path: str, key_id: str, team_id: str) -> dict[str, Any]:
    """A provider token for APNs: ES256 over `iss` and `iat` (Apple, "Establishing a token-based connection to APNs").

    Raises:
        BadKeyError: the file is no P-256 private key in PEM.
    """
    import jwt  # noqa: PLC0415 - each command pays for its own libraries only

    pem = _read(path)
    issued = int(time.time())
    try:
        token = jwt.encode({"iss": team_id, "iat": issued}, pem, algorithm="ES256", headers={"kid": key_id})
    except (ValueError, TypeError, jwt.PyJWTError):
        raise BadKeyError(f"{path}: no ES256 private key (the .p8 file from the Apple Developer Portal)") from None
    return {
        "token": token,
        "issued": issued,
        "expires": issued + JWT_LIFETIME,
        "key": _fingerprint(pem, key_id, team_id),
    }


def fcm(path: str) -> dict[str, Any]:
    """A service account's access token (OAuth 2.0, RFC 7523).

    Raises:
        BadKeyError: the file is no service account, or the account was refused.
        UnreachableError: the token endpoint does not answer.
    """
    import google.auth.exceptions  # noqa: PLC0415 - as above
    from firebase_admin import credentials  # type: ignore[import-untyped]  # noqa: PLC0415 - it has no types; as above

    text = _read(path)
    try:
        account = credentials.Certificate(json.loads(text))
    except ValueError:
        account = None
    if account is None or not account.project_id:  # which firebase-admin does without, but a push has it in its path
        raise BadKeyError(f"{path}: no service account (the JSON file from the Firebase console)")
    issued = int(time.time())
    try:
        token = account.get_access_token()
        expires = token.expiry.replace(tzinfo=UTC).timestamp()
    except google.auth.exceptions.TransportError:
        raise UnreachableError("the token endpoint of the service account cannot be reached") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # google-auth on HTML or other JSON
        raise UnreachableError("the token endpoint of the service account answers, but not with a token") from None
    except google.auth.exceptions.GoogleAuthError as error:
        word = str(error.args[0] if error.args else "").partition(":")[0]
        # Only an OAuth error code (RFC 6749, 5.2), e.g. invalid_grant, is about the account; a proxy answers in HTML.
        if getattr(error, "retryable", False) or not re.fullmatch("[a-z_]{1,40}", word):
            raise UnreachableError("the token endpoint of the service account gives no token now") from None
        raise BadKeyError(f"{path}: the token endpoint refuses this service account ({word})") from None
    return {
        "token": token.access_token,
        "issued": issued,
        "expires": expires,
        "key": _fingerprint(text),
        "project": account.project_id,
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BadKeyError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise BadKeyError(f"{path}: not a text file") from None


def _fingerprint(*parts: str) -> str:
    """Tells whether two tokens come from the same key."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def main() -> int:
    """Print the token and its times as JSON; the gateway reads them through a pipe."""
    command, *arguments = sys.argv[1:]
    try:
        minted = apns(*arguments) if command == "apns" else fcm(*arguments)
    except BadKeyError as error:
        print(error, file=sys.stderr)  # noqa: T201 - to the gateway
        return BAD
    except UnreachableError as error:
        print(error, file=sys.stderr)  # noqa: T201 - to the gateway
        return LATER
    print(json.dumps(minted))  # noqa: T201 - to the gateway
    return 0


if __name__ == "__main__":
    sys.exit(main())
