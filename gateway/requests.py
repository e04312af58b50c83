"""Parses what callers of POST /push send: its fields, and the push. Pure; `intake` reads it from the connection."""

from __future__ import annotations

import hmac
import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from gateway.push import MAX_NODE, Kind, Push

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Refusal(Exception):  # noqa: N818 - an answer, not an error
    """A request to /push that is answered without a push."""

    status: int
    text: str


def parse(content_type: str, body: bytes) -> Mapping[str, object]:
    """Return the fields of a JSON or form body; none if it is JSON but no object.

    Raises:
        Refusal: 415 for any other content type, 400 for a body that cannot be read or gives a field twice.
    """
    try:
        if content_type == "application/json":
            fields = _JSON.decode(body.decode())
            return fields if isinstance(fields, dict) else {}
        if content_type == "application/x-www-form-urlencoded":
            return _once(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100))
    except (ValueError, RecursionError):
        raise Refusal(400, "Unreadable body") from None
    raise Refusal(415, "Must be application/json or application/x-www-form-urlencoded")


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Return these fields; a field that is given twice is ambiguous.

    Raises:
        Refusal: 400 if there are two.
    """
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise Refusal(400, "A field is given twice")
    return fields


_JSON = json.JSONDecoder(object_pairs_hook=_once)


def knows_secret(fields: Mapping[str, object], secret: bytes) -> bool:
    """Tell whether a request has the secret, in a time that does not depend on it."""
    given = fields.get("secret")
    return hmac.compare_digest(
        given.encode("utf-8", "surrogatepass") if isinstance(given, str) else b"",
        secret,
    )


def understand(fields: Mapping[str, object], ttl: str | None, arrived: float) -> Push:
    """Return the push that a request asks for.

    Args:
        fields: of the request.
        ttl: the header TTL (seconds, as in RFC 8030), which can shorten the life of a push.
        arrived: the loop's time of the request.

    Raises:
        Refusal: 400, the fields describe no push.
    """
    node = fields.get("node")
    if not isinstance(node, str) or not node:
        raise Refusal(400, "Missing device token (node)")
    if len(node) > MAX_NODE:
        raise Refusal(400, "Device token (node) is too long")
    try:
        kind = Kind(str(fields.get("type")))
    except ValueError:
        raise Refusal(400, "Unknown type: must be call or message") from None
    worth = kind.worth
    if ttl is not None and ttl.isascii() and ttl.isdecimal() and len(ttl) < 6:  # noqa: PLR2004 - digits
        worth = min(worth, float(ttl))
    return Push(node, kind, arrived, arrived + worth, time.time() + worth, str(uuid.uuid4()))
