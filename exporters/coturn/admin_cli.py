"""Client of coturn's telnet CLI: logs in and sends `pc`, an answer that does not grow with the allocations.

It never sends anything else: `ps` and `pu` grow with the allocations, and other commands change the server.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporters.coturn.config import Cli

_PASSWORD_PROMPT = b"password: \r\n"
_PROMPT = b"\n> "
_LARGEST_ANSWER = 1 << 16
_PATIENCE = 2.0  # seconds for connection, login and answer together
_FIELD = re.compile(rb"^  ([\w -]{1,64}): (\d{1,10})\b", re.MULTILINE)
_SocketAddress = tuple[str, int]
_ALLOCATIONS = "total-current-allocs"
_QUOTA = "current realm total-quota"


class CliError(Exception):
    """The CLI gave no answer: one line saying what to do."""


@dataclass(frozen=True)
class CliStatus:
    """The answer to `pc`.

    Args:
        allocations: open in the default realm, the probe's included.
        total_quota: allocations allowed at once, 0 for no limit; as changed at run time, if it was.
    """

    allocations: int
    total_quota: int


def parse(answer: bytes) -> CliStatus:
    """Read the answer to `pc`. Raises CliError if it does not hold the number of allocations."""
    fields = {name.decode(): int(value) for name, value in _FIELD.findall(answer)}
    if _ALLOCATIONS not in fields:
        raise CliError("coturn's CLI does not say how many allocations there are; this version is not known")
    return CliStatus(fields[_ALLOCATIONS], fields.get(_QUOTA, 0))


class AdminCli:
    """One connection to the CLI, kept open between readings, opened again when it is gone.

    Args:
        settings: where it is, and its password.
        is_coturns: tells whether the other end of a connection, given by both addresses, is coturn. The password is an
            administrator's, and any process can take the port while coturn does not run.
    """

    def __init__(self, settings: Cli, is_coturns: Callable[[_SocketAddress, _SocketAddress], bool]) -> None:
        self._settings = settings
        self._is_coturns = is_coturns
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def read(self) -> CliStatus:
        """Ask once; a kept connection that has died is replaced. Raises CliError."""
        where = f"{self._settings.host}:{self._settings.port}"
        try:
            async with asyncio.timeout(_PATIENCE):
                if self._connection:
                    try:
                        return await self._ask()
                    except (OSError, EOFError):
                        self.close()
                await self._log_in()
                return await self._ask()
        except TimeoutError:
            self.close()
            raise CliError(f"coturn's CLI on {where} does not answer within {_PATIENCE:g} s") from None
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            self.close()
            raise CliError(
                f"cannot use coturn's CLI on {where} ({error}); check cli-ip, cli-port and cli-password"
            ) from error
        except BaseException:
            self.close()  # the rest of this answer would be read as the next one
            raise

    def close(self) -> None:
        """Drop the connection."""
        if self._connection:
            self._connection[1].close()
            self._connection = None

    async def _log_in(self) -> None:
        reader, writer = await asyncio.open_connection(self._settings.host, self._settings.port, limit=_LARGEST_ANSWER)
        self._connection = reader, writer
        await reader.readuntil(_PASSWORD_PROMPT)  # only a process that has accepted the connection can be looked up
        if not self._is_coturns(writer.get_extra_info("sockname")[:2], writer.get_extra_info("peername")[:2]):
            raise CliError(
                f"{self._settings.host}:{self._settings.port} is not a socket of turnserver, so it does not get the "
                "CLI's password; look which process has that port (ss -ltnp), and check cli-port"
            )
        writer.write(self._settings.password.encode() + b"\r\n")
        # Either the prompt or the question for the password once more.
        answer = await reader.readuntil(b" ")
        if answer != b"> ":
            raise CliError("coturn's CLI refuses the password; check cli-password, or --coturn.cli-password-file")

    async def _ask(self) -> CliStatus:
        assert self._connection
        reader, writer = self._connection
        writer.write(b"pc\r\n")
        return parse(await reader.readuntil(_PROMPT))
