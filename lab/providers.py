"""Apple and Google in the lab: the fakes as one server, whose log has a JSON line for every push that reached it."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import apns, fcm
from lab.server import Server, tcp_accepts

if TYPE_CHECKING:
    from lab.http2 import Request
    from lab.workspace import Workspace

UNREGISTERED = "token-of-an-app-that-was-removed"  # FCM has given it up


@dataclass(frozen=True)
class Mood:
    """How they answer: after how many seconds, and which of "apns" and "fcm" refuses every push for good."""

    delay: float = 0.0
    refusing: tuple[str, ...] = ()


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
        return [sys.executable, "-m", "lab.providers", str(self._mood_file), *map(str, (*paths, *ports))]

    def is_ready(self) -> bool:
        """All three listen."""
        return all(map(tcp_accepts, (self.apns_port, self.fcm_port, self.token_port)))

    def received(self, provider: str) -> list[dict[str, Any]]:
        """Return the pushes that reached "apns" or "fcm" so far."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["provider"] == provider]


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

    def tell(provider: str, received: object) -> None:
        print(json.dumps({"provider": provider, **vars(received)}), flush=True)

    def answer_call(request: Request) -> None:
        tell("apns", apple.received[-1])
        if "apns" in mood().refusing:
            apns.refuse(request, 400, "TopicDisallowed")
        else:
            loop.call_later(mood().delay, apns.accept, request)

    def answer_message(request: Request) -> None:
        tell("fcm", google.received[-1])
        if google.received[-1].node == UNREGISTERED:
            fcm.refuse(request, 404, "UNREGISTERED")
        elif "fcm" in mood().refusing:
            fcm.refuse(request, 403, "SENDER_ID_MISMATCH")
        else:
            loop.call_later(mood().delay, fcm.accept, request)

    tokens = fcm.TokenEndpoint(context("http/1.1"))
    tokens.account = json.loads(Path(account_path).read_text())
    apple = apns.FakeApns(context("h2"), Path(key_path).read_text())
    google = fcm.FakeFcm(context("h2"), valid=lambda token: token in tokens.issued)
    apple.answer, google.answer = answer_call, answer_message
    await apple.start(apns_port)
    await google.start(fcm_port)
    await tokens.start(token_port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
