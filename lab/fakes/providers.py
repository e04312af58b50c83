"""Apple and Google in the lab: the fakes as one server, whose log has a JSON line for every push that reached it."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.fakes import apns, fcm
from lab.running.server import Server, tcp_accepts

if TYPE_CHECKING:
    from lab.fakes.http2 import Request
    from lab.running.server import Workspace

Received = apns.Received | fcm.Received
UNREGISTERED = "token-of-an-app-that-was-removed"  # FCM has given it up


@dataclass(frozen=True)
class Mood:
    """How they answer.

    Args:
        delay: seconds until an answer.
        refusing: which of "apns" and "fcm" refuses every push for good.
        unavailable: which of them says 503 to every push.
        losing: each loses one push in so many that it accepts: 1 loses all of them, 2 every other one, 0 none.
        losing_only: "calls" or "messages", if it loses no others.
    """

    delay: float = 0.0
    refusing: tuple[str, ...] = ()
    unavailable: tuple[str, ...] = ()
    losing: int = 0
    losing_only: str = ""


class Providers(Server):
    """The fakes on three ports, and the two key files that open them.

    Args:
        lab: where they run.
        name: unique in the lab.
        delay: seconds until a push is answered, see `behave`.
    """

    def __init__(self, lab: Workspace, name: str = "providers", delay: float = 0.0) -> None:
        super().__init__(lab, name)
        self._mood = Mood(delay)
        self.apns_port = lab.ports.reserve()
        self.fcm_port = lab.ports.reserve()
        self.token_port = lab.ports.reserve()

    @property
    def address(self) -> str:
        """All three doors."""
        return f"APNs 127.0.0.1:{self.apns_port}, FCM 127.0.0.1:{self.fcm_port}"

    @property
    def key_path(self) -> Path:
        """The .p8 file."""
        return self.directory / "AuthKey.p8"

    @property
    def account_path(self) -> Path:
        """The service account file."""
        return self.directory / "service-account.json"

    def behave(self, mood: Mood) -> None:
        """Answer in another way from the next push on."""
        self._mood = mood
        complete = self._mood_file.with_suffix(".new")  # renamed, so that nobody reads half of it
        complete.write_text(json.dumps(asdict(mood)))
        complete.replace(self._mood_file)

    @property
    def _mood_file(self) -> Path:
        return self.directory / "mood.json"

    def prepare(self) -> None:
        """Make the keys, once."""
        self.behave(self._mood)
        if not self.key_path.exists():
            self.key_path.write_text(apns.make_key())
            self.account_path.write_text(fcm.make_account(f"https://localhost:{self.token_port}/token"))
            self.key_path.chmod(0o600)
            self.account_path.chmod(0o600)

    def command(self) -> list[str]:
        """Run this very module."""
        chain, key = self.lab.certificate("localhost")
        ports = (self.apns_port, self.fcm_port, self.token_port)
        paths = (chain, key, self.key_path, self.account_path)
        return [sys.executable, "-m", "lab.fakes.providers", str(self._mood_file), *map(str, (*paths, *ports))]

    def is_ready(self) -> bool:
        """All three listen."""
        return all(map(tcp_accepts, (self.apns_port, self.fcm_port, self.token_port)))

    def received(self, provider: str) -> list[dict[str, Any]]:
        """Return the pushes that reached "apns" or "fcm" so far, and whether each was "delivered" to its phone."""
        return [push for push in self.reports() if push["provider"] == provider]


async def main() -> None:
    """Serve until the end."""
    mood_file = Path(sys.argv[1])
    chain, key, key_path, account_path = sys.argv[2:6]
    apns_port, fcm_port, token_port = map(int, sys.argv[6:])
    loop = asyncio.get_running_loop()

    def context(*protocols: str) -> ssl.SSLContext:
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        made.load_cert_chain(chain, key)
        made.set_alpn_protocols(list(protocols))
        return made

    def mood() -> Mood:
        return Mood(**json.loads(mood_file.read_text()))

    accepted: Counter[str] = Counter()

    def take(provider: str, received: Received, request: Request) -> None:
        fake, now = {"apns": apns, "fcm": fcm}[provider], mood()
        status, word = _answer(provider, received.node, now)
        accepted[provider] += not word
        lost = now.losing and accepted[provider] % now.losing == 0 and now.losing_only in ("", _kind(received))
        delivered = not word and not lost
        line = {"provider": provider, "at": time.time(), "accepted": not word, "delivered": delivered}
        print(json.dumps(line | vars(received)), flush=True)
        if word:
            fake.refuse(request, status, word)
        else:
            loop.call_later(now.delay, fake.accept, request)

    tokens = fcm.TokenEndpoint(context("http/1.1"))
    tokens.issued = _Issued(Path(account_path).with_name("issued"))
    tokens.account = json.loads(Path(account_path).read_text())
    apple = apns.FakeApns(context("h2"), Path(key_path).read_text())
    google = fcm.FakeFcm(context("h2"), valid=lambda token: token in tokens.issued)
    apple.answer = lambda request: take("apns", apple.received.pop(), request)
    google.answer = lambda request: take("fcm", google.received.pop(), request)
    await apple.start(apns_port)
    await google.start(fcm_port)
    await tokens.start(token_port)
    await asyncio.Event().wait()


def _kind(received: Received) -> str:
    """Tell calls from messages: all that goes to APNs are calls."""
    call = isinstance(received, apns.Received) or received.data.get("type") == "incoming-call"
    return "calls" if call else "messages"


def _answer(provider: str, node: str, mood: Mood) -> tuple[int, str]:
    """The status, and the provider's word for it; no word if the push is accepted."""
    if provider in mood.unavailable:
        return 503, {"apns": "ServiceUnavailable", "fcm": "UNAVAILABLE"}[provider]
    if node == UNREGISTERED:
        return 404, "UNREGISTERED"
    if provider in mood.refusing:
        return {"apns": (400, "TopicDisallowed"), "fcm": (403, "PERMISSION_DENIED")}[provider]
    return 200, ""


class _Issued(list[str]):
    """The access tokens given out, in a file as well: Google knows them after a restart, too."""

    def __init__(self, file: Path) -> None:
        super().__init__(file.read_text().split() if file.exists() else ())
        self._file = file

    def append(self, token: str) -> None:
        super().append(token)
        with self._file.open("a") as file:
            file.write(f"{token}\n")


if __name__ == "__main__":
    asyncio.run(main())
