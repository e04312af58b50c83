"""Keeps a valid access token, renewed before it expires, so that no push waits for a renewal.

`credentials` makes the tokens, in a separate process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import stat
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.credentials import BAD

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable, Sequence

LOOK = 20.0  # seconds between looks at the clock, which can jump
RETRY = 30.0  # seconds between attempts, while there is no new token
RETRY_WITHOUT = 2.0  # seconds between attempts, while there is no token at all and the endpoint was unreachable
MINT_TIMEOUT = 30.0  # seconds for one attempt; on a host without a free core its libraries alone take ten

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Minted:
    """A token, its Unix times, the fingerprint of its key, and FCM's project."""

    token: str
    issued: float
    expires: float
    key: str
    project: str = ""

    def due(self, now: float) -> bool:
        """Tell whether two thirds of its life are over (36 minutes of Apple's 20 to 60), or the clock was set back."""
        return not -60.0 <= now - self.issued < 2 / 3 * (self.expires - self.issued)  # noqa: PLR2004 - said above


Attempt = tuple[Minted | None, bool, str]  # the token, or whether a person must act, and why


@dataclass(frozen=True)
class Source:
    """How to obtain a token.

    Args:
        path: the key file.
        arguments: those of `gateway.credentials`.
        youngest: seconds that a token must have served before the same key may make another (Apple: 20 minutes).
        missing: settings without which there is no token at all.
    """

    path: str
    arguments: Sequence[str]
    youngest: float
    missing: Sequence[str] = ()


class Token:
    """The current token of one handler.

    Args:
        source: where it comes from.
        renewals: counts the attempts that ended ok or failed.
        mint: makes one attempt; `mint` of this module.
        clock: Unix time.
    """

    def __init__(
        self,
        source: Source,
        renewals: Counter[str],
        mint: Callable[[Sequence[str]], Awaitable[Attempt]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._renewals = renewals
        self._mint = mint
        self._clock = clock
        self._minted: Minted | None = None
        self._refused = False
        self._content = False  # True while waiting for the next look at the clock, after one that left a good token
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self.broken = bool(source.missing)  # or the key file was not in order when last looked at

    @property
    def current(self) -> Minted | None:
        """The token, if there is a valid one.

        A token that the provider refused is used until there is another, since the refusal may be a mistake.
        """
        if self._minted is not None and self._clock() < self._minted.expires:
            return self._minted
        return None

    @property
    def usable(self) -> bool:
        """False if there is no token and only a person can change that."""
        return self.current is not None or not self.broken

    @property
    def age(self) -> float | None:
        """Seconds since it was issued."""
        return max(0.0, self._clock() - self._minted.issued) if self._minted is not None else None

    @property
    def key_private(self) -> bool | None:
        """True if nobody but its owner may read the key file; None if there is none, or it cannot be looked at."""
        try:
            return not os.stat(self._source.path).st_mode & (stat.S_IRWXG | stat.S_IRWXO)  # noqa: PTH116 - one bit test
        except OSError:
            return None

    async def get(self, deadline: float, *, other_than: str = "") -> Minted | None:
        """Return the token; wait for one until `deadline` (the loop's time): at a start, or after an outage.

        Args:
            deadline: the loop's time.
            other_than: a token that the provider refused.
        """
        if (minted := self.current) is not None and minted.token != other_than:
            return minted
        if self._content:  # the clock has moved on by more than the time between two looks: the machine slept
            self._wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while ((minted := self.current) is None or minted.token == other_than) and self.usable:
                    await self._changed.wait()
                return minted
        return None

    def refuse(self, token: str) -> bool:
        """Note that the provider refused this token. Return True if another is being made, or was made since."""
        minted = self._minted
        if minted is None or minted.token != token:
            return True
        if 0 <= self._clock() - minted.issued < self._source.youngest:
            return False
        self._refused = True
        self._wake.set()
        return True

    def reload(self) -> None:
        """Read the key file again."""
        self._warn_of_readers()
        self._wake.set()

    async def run(self) -> None:
        """Keep the token fresh until cancelled."""
        if self._source.missing:
            missing = ", ".join(self._source.missing)
            _log.error("handler cannot send", extra={"for": self._source.arguments[0], "error": f"not set: {missing}"})
            await asyncio.Event().wait()
        self._warn_of_readers()
        while True:
            asked = self._wake.is_set()
            self._wake.clear()
            ok = True
            if asked or self._minted is None or self._minted.due(self._clock()):
                ok = await self._renew()
                changed, self._changed = self._changed, asyncio.Event()
                changed.set()
            self._content = ok
            pause = LOOK if ok else RETRY_WITHOUT if self.current is None and not self.broken else RETRY
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause * random.uniform(0.8, 1.0)):  # noqa: S311 - jitter, not a secret
                    await self._wake.wait()
            self._content = False

    async def _renew(self) -> bool:
        minted, broken, error = await self._mint(self._source.arguments)
        self._renewals["ok" if minted is not None else "failed"] += 1
        if minted is None:
            self.broken = broken
            _log.error("no access token", extra={"for": self._source.arguments[0], "error": error})
            return False
        old, now = self._minted, self._clock()
        self.broken = False
        if (
            old is not None
            and old.key == minted.key
            and not self._refused
            and 0 <= now - old.issued < self._source.youngest
        ):
            return True  # the key is unchanged after a reload, and Apple refuses new tokens that come too fast
        self._minted, self._refused = minted, False
        _log.info("access token renewed", extra={"for": self._source.arguments[0]})
        return True

    def _warn_of_readers(self) -> None:
        if self.key_private is False:
            _log.warning(
                "credentials can be read by others than their owner",
                extra={"file": self._source.path, "fix": f"chmod 600 {self._source.path}"},
            )


async def mint(arguments: Sequence[str]) -> Attempt:
    """Run `gateway.credentials` once."""
    environment = {name: value for name, value in os.environ.items() if name != "PUSH_SECRET"}
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    command = (sys.executable, "-m", "gateway.credentials", *arguments)
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=nothing, stdout=pipe, stderr=pipe, env=environment
        )
    except OSError as error:
        return None, False, f"cannot start a process: {error.strerror}"
    try:
        async with asyncio.timeout(MINT_TIMEOUT):
            out, err = await process.communicate()
    except TimeoutError:
        return None, False, f"{command[2]} {arguments[0]} gave no token within {MINT_TIMEOUT:g} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return Minted(**json.loads(out)), False, ""
    lines = err.decode(errors="replace").strip().splitlines()
    return None, process.returncode == BAD, lines[-1] if lines else f"exit code {process.returncode}"
