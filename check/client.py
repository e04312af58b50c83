"""Requests JSON from an HTTP API within limits of time and size; an error is one line. It knows no particular API."""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import Future
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Thread
from typing import Any, Protocol

_MOST_BYTES = 64 * 2**20  # of an answer; a thousand targets are one or two megabytes
_MOST_WORDS = 200  # characters that are repeated of what a server says of an error


class CannotAskError(Exception):
    """One line: the address, and why it gave no usable answer."""


class ApiRefusedError(CannotAskError):
    """The API itself answered that it does not do this, and why."""


class NotThereError(ApiRefusedError):
    """The API itself answered that it has no such thing (404)."""


class CredentialsError(Exception):
    """One line: what is wrong with the credentials; never the credentials themselves."""


def authorization(credentials: str) -> str:
    """Return the Authorization header for `user:password` (Basic) or for a token (Bearer); "" for "".

    Raises:
        CredentialsError: they are more than one line, or a token with characters that no header takes.
    """
    text = credentials.strip()
    if not text:
        return ""
    if "\n" in text:
        raise CredentialsError("must be one line, user:password or a token")
    if ":" in text:
        return f"Basic {base64.b64encode(text.encode()).decode()}"
    if not text.isascii() or not text.isprintable() or " " in text:
        raise CredentialsError("must be user:password, or a token of printable ASCII without spaces")
    return f"Bearer {text}"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: they lead to a login page or are a mistake, and credentials must not follow them."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class _Readable(Protocol):
    def read1(self, size: int) -> bytes: ...


_OPENER = urllib.request.build_opener(_NoRedirects)


@dataclass(frozen=True)
class HttpClient:
    """One server.

    Args:
        url: where its API begins.
        authorization: the header of that name; see `authorization`.
        timeout: seconds for one answer.
    """

    url: str
    authorization: str = field(default="", repr=False)
    timeout: float = 10.0

    def ask(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON at this path.

        Raises:
            CannotAskError: there is none: no connection, no answer in time, another status than 200, no JSON.
        """
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        return _json(self._shown(path), self._exchange("GET", path, query=query))

    def post(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON that answers this JSON.

        Raises:
            CannotAskError: there is none, as for `ask`.
        """
        return _json(self._shown(path), self._exchange("POST", path, json.dumps(body).encode()))

    def send(self, method: str, path: str, body: object = None) -> None:
        """Send JSON to this path, or nothing but the method.

        Args:
            method: of HTTP, such as POST or DELETE.
            path: below the URL.
            body: what is sent as JSON; None for nothing.

        Raises:
            CannotAskError: it was not taken: no connection, no answer in time, another status than 200.
        """
        self._exchange(method, path, None if body is None else json.dumps(body).encode())

    def _shown(self, path: str) -> str:
        return f"{self.url.rstrip('/')}/{path}"  # without the query, which may be long

    def _exchange(self, method: str, path: str, body: bytes | None = None, query: str = "") -> bytes:
        headers = {"Accept": "application/json"} | ({"Authorization": self.authorization} if self.authorization else {})
        shown = self._shown(path)
        if body is not None:
            headers["Content-Type"] = "application/json"
        # http or https: the command line has checked it
        request = urllib.request.Request(shown + query, body, headers, method=method)  # noqa: S310 - as said
        answered: Future[bytes] = Future()
        # In a thread that may be abandoned: a socket's timeout begins again with every byte of a header, and name
        # lookups have no timeout.
        Thread(target=self._fetch, args=(request, shown, answered), daemon=True).start()
        try:
            text = answered.result(self.timeout)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            words = str(reason) or type(reason).__name__
            if isinstance(reason, TimeoutError):
                words = f"timed out after {self.timeout:g} s"
            raise CannotAskError(f"{shown}: {one_line(words)}") from None
        return text

    def _fetch(self, request: urllib.request.Request, shown: str, answered: Future[bytes]) -> None:
        """Set `answered` to the answer or the exception."""
        try:
            with _OPENER.open(request, timeout=self.timeout) as answer:
                answered.set_result(self._read(answer))
        except urllib.error.HTTPError as error:
            with error:
                answered.set_exception(_refused(shown, error))
        except Exception as error:  # noqa: BLE001 - raised again in the thread that asks
            answered.set_exception(error)

    def _read(self, answer: _Readable) -> bytes:
        """Read the whole answer. The socket's timeout alone would let a server that drips hold us forever."""
        deadline = time.monotonic() + self.timeout
        parts, size = [], 0
        while part := answer.read1(2**16):
            parts.append(part)
            size += len(part)
            if time.monotonic() > deadline:
                raise TimeoutError
            if size > _MOST_BYTES:
                raise OSError(f"the answer is above {_MOST_BYTES:,} bytes")
        return b"".join(parts)


def one_line(text: str) -> str:
    """Return a server's text made fit for one line: printable, and shortened."""
    return "".join(c if c.isprintable() else " " for c in text[:_MOST_WORDS]).strip()


def _json(shown: str, text: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        what = "an HTML page" if text.lstrip()[:1] == b"<" else "no JSON"
        raise CannotAskError(f"{shown}: answers with {what}: is this the address of another server?") from None


def _refused(shown: str, error: urllib.error.HTTPError) -> CannotAskError:
    """Explain a status other than 200, with the server's own message if there is one."""
    if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return CannotAskError(f"{shown}: {error.code}, the credentials are missing, wrong, or may not ask this")
    if error.code // 100 == HTTPStatus.MULTIPLE_CHOICES // 100:
        where = one_line(error.headers.get("Location", "nowhere"))
        return CannotAskError(f"{shown}: {error.code}, it sends us to {where}: give that address, or log in")
    try:
        said = json.loads(error.read(_MOST_BYTES))
        words = one_line(_reason(said))
    except (ValueError, RecursionError, LookupError, AttributeError, OSError, http.client.HTTPException):
        return CannotAskError(f"{shown}: {error.code}: is this the address of another server?")
    kind = NotThereError if error.code == HTTPStatus.NOT_FOUND else ApiRefusedError
    return kind(f"{shown}: {error.code}, {words}")


def _reason(said: dict[str, Any]) -> str:
    """Return why, as Prometheus, Alertmanager and Grafana say it; Grafana has it beside the query that it is about."""
    about = [result["error"] for result in said.get("results", {}).values() if "error" in result]
    return str(about[0] if about else said.get("error") or said["message"])
