"""Which settings of Prosody keep the promise that contacts see a silent user go within 90 s, and what they cost.

Each setting has a Prosody of its own, as Appendix A configures it; phones fall silent, and a contact waits for each.
What a setting costs at 50,000 sessions is measured on one Prosody that holds so many: most are made without a
network (bench/prosody.lua), and 2,000 are real WebSockets. These are pinged 12.5 times as often as the setting says:
half as often in a second as 50,000 would be, since one process cannot answer for all. So the CPU is doubled. What a
setting costs a phone's battery is not measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from bench.prosody import CONFIG, LUA, Bench
from lab.servers.prosody import Prosody
from lab.stack import Lab
from lab.users.accounts import PASSWORD
from lab.users.traffic import Mix, Traffic
from xmpp.client import XmppClient
from xmpp.websocket import http_session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.etree import ElementTree as ET

PROMISED: Final = 90.0  # seconds, Section 1
SESSIONS: Final = 50_000
REAL: Final = 2_000
RETURNING: Final = 500  # of them break and come back
SHARE: Final = 0.5  # of the pings that 50,000 would get
PHONES: Final = 5  # that fall silent under each setting
MEASURED: Final = 20.0  # seconds for which each cost is measured
NEVER: Final = 86_400  # seconds: nobody is asked
_GRACE: Final = 30.0  # seconds beyond what a setting says before a phone counts as never gone
_LUA: Final = Path(__file__).with_name("presence.lua").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Setting:
    """What Sections 11 and 15 set, in seconds."""

    read_timeout: int
    hibernation: int

    @property
    def bound(self) -> int:
        """After how many seconds a silent phone is gone: asked once, given up at the next timeout, hibernated."""
        return 2 * self.read_timeout + self.hibernation

    @property
    def config(self) -> str:
        """Return it as Prosody reads it."""
        return (
            f"network_settings = {{ read_timeout = {self.read_timeout} }}\n"
            f"smacks_hibernation_time = {self.hibernation}\n"
        )


SETTINGS: Final = (  # the specification's first
    *(Setting(60, 30), Setting(30, 30), Setting(25, 30), Setting(20, 30), Setting(35, 15), Setting(40, 5)),
)


async def gone(prosody: Prosody, number: int) -> list[float]:
    """Let phones fall silent; return after how many seconds the contact saw each of them go."""
    seen: dict[str, float] = {}
    everybody = asyncio.Event()

    def notice(element: ET.Element) -> None:
        if element.get("type") == "unavailable":
            seen[element.get("from", "")] = time.monotonic()
            if len(seen) == PHONES:
                everybody.set()

    where = prosody.endpoints()
    async with http_session() as http, Traffic(where, prosody.admin_socket, prefix=f"silent{number}") as traffic:
        (user,) = await traffic.accounts(1)
        contact = XmppClient(where, user, PASSWORD, http=http, resource="contact", on_stanza=notice)
        phones = [traffic.client(user) for _ in range(PHONES)]
        traffic.clients += [contact, *phones]
        await contact.login()  # all are one account's, so it sees the others without a subscription
        for phone in phones:
            await phone.login()
        # Whatever is sent to a silent phone finds it sooner, so they fall silent together.
        await asyncio.gather(*(phone.settle() for phone in (contact, *phones)))
        silent = {phone.full_jid: time.monotonic() for phone in phones}
        for phone in phones:
            phone.vanish()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTINGS[number].bound + _GRACE):
                await everybody.wait()
    return [seen[phone] - began for phone, began in silent.items() if phone in seen]


async def bounds() -> list[list[float]]:
    """Try all settings at the same time, each on a Prosody of its own."""
    with Lab() as lab:
        servers = [Prosody(lab, f"setting{number}", each.config) for number, each in enumerate(SETTINGS)]
        lab.start(*servers)
        return await asyncio.gather(*(gone(server, number) for number, server in enumerate(servers)))


class Cost:
    """One Prosody with 50,000 sessions, and what it spends.

    Args:
        bench: with a shell into it.
        traffic: the real ones of its sessions.
    """

    def __init__(self, bench: Bench, traffic: Traffic) -> None:
        self._shell = bench.shell
        self._traffic = traffic
        self._process = psutil.Process(bench.lab.prosody.pid)

    def _cpu(self) -> float:
        return sum(self._process.cpu_times()[:2])

    async def _ask(self, call: str) -> float:
        return float(await self._shell.lua(f'return tostring(package.loaded["commeazy.presence"].{call})'))

    async def read_timeout(self, seconds: float) -> None:
        """Set it, and wait until each connection has it."""
        await self._shell.lua(f'return package.loaded["commeazy.presence"].read_timeout({seconds})')
        # A connection takes it when it next reads. One after the other: so they are not all asked at the same time.
        for client in self._traffic.clients:
            await client.ping()

    async def asking(self, read_timeout: float) -> tuple[float, float]:
        """Return how often clients are asked in a second, and how much of a core Prosody spends meanwhile."""
        await self.read_timeout(read_timeout * REAL / SESSIONS / SHARE)
        asked, cpu, began = await self._ask("asked"), self._cpu(), time.monotonic()
        await asyncio.sleep(MEASURED)
        asked, cpu, lasted = await self._ask("asked") - asked, self._cpu() - cpu, time.monotonic() - began
        if lost := [client for client in self._traffic.clients if not client.connected]:
            raise RuntimeError(f"{len(lost)} of {REAL} real clients did not answer in time: this machine is too busy")
        return asked / lasted, cpu / lasted

    async def returning(self, setting: Setting) -> tuple[float, float, float]:
        """Break real connections and let them resume; break them again, and let their users log in, too late to resume.

        Returns milliseconds of CPU to resume a session and to log in, and bytes that a hibernated one keeps.
        """
        clients = self._traffic.clients[:RETURNING]
        await self._break(clients)
        cpu = self._cpu()
        for client in clients:
            await client.resume()
            await client.settle()
        resumed = self._cpu() - cpu
        await self._break(clients)
        asleep = await self._ask("heap()")
        await self._traffic.until_noticed(REAL - RETURNING, 0, seconds=setting.hibernation + _GRACE)
        kept = asleep - await self._ask("heap()")
        self._traffic.clients[:RETURNING] = [self._traffic.client(client.username) for client in clients]
        cpu = self._cpu()
        for client in self._traffic.clients[:RETURNING]:
            await client.login()
            await client.settle()
        login = self._cpu() - cpu
        return resumed / RETURNING * 1000, login / RETURNING * 1000, kept / RETURNING

    async def _break(self, clients: Sequence[XmppClient]) -> None:
        for client in clients:
            client.abort()
        await self._traffic.until_noticed(REAL, len(clients))


async def costs() -> tuple[float, dict[int, tuple[float, float]], tuple[float, float, float]]:
    """Return the CPU of idle sessions, of each read_timeout's asking, and what it costs to come back."""
    common = SETTINGS[0]
    with Lab() as lab:
        lab.prosody.config = CONFIG + common.config
        lab.start(lab.prosody)
        bench = Bench(lab)
        await bench.shell.lua(LUA)
        await bench.shell.lua(_LUA)
        await bench.populate(SESSIONS - REAL)
        async with Traffic(lab.prosody.endpoints(), lab.prosody.admin_socket) as traffic:
            await traffic.hold(Mix(websocket=REAL))
            cost = Cost(bench, traffic)
            _, idle = await cost.asking(NEVER)
            timeouts = sorted({each.read_timeout for each in SETTINGS}, reverse=True)
            asking = {each: await cost.asking(each) for each in timeouts}
            await cost.read_timeout(NEVER)
            back = await cost.returning(common)
            lab.prosody.kill()  # saying goodbye to 50,000 sessions takes minutes and shows nothing
    return idle, asking, back


def main() -> int:
    """Measure both and print them as tables; return 1 if a setting does not do what its numbers say."""
    wrong = 0
    print(f"\n{PHONES} silent phones for each setting:\n", flush=True)
    print(
        "| `read_timeout` | `smacks_hibernation_time` | a silent phone is gone after | within 90 s |\n|---|---|---|---|"
    )
    for setting, after in zip(SETTINGS, asyncio.run(bounds()), strict=True):
        seen = f"{min(after):.1f} to {max(after):.1f} s" if after else "never"
        if len(after) < PHONES:
            wrong += 1
            seen += f"; {PHONES - len(after)} of {PHONES} never"
        within = "yes" if len(after) == PHONES and max(after) <= PROMISED else "no"
        print(f"| {setting.read_timeout} | {setting.hibernation} | {seen} | {within} |", flush=True)
    idle, asking, (resumed, login, kept) = asyncio.run(costs())
    print(f"\n{SESSIONS:,} sessions, each read_timeout for {MEASURED:.0f} s:\n")
    print("| `read_timeout` | pings in a second | CPU of Prosody for them | pings in an hour, each phone |")
    print("|---|---|---|---|")
    for timeout, (rate, cpu) in asking.items():
        spent = f"{(cpu - idle) / SHARE:.1%} of a core"
        print(f"| {timeout} | {rate / SHARE:,.0f} | {spent} | {3600 / timeout:.0f} |")
    print(f"\nWith no pings, {SESSIONS:,} idle sessions take {idle:.1%} of a core.")
    print(f"To resume a session costs Prosody {resumed:.2f} ms of CPU, to log in {login:.2f} ms.")
    print(f"A hibernated session keeps {kept / 1000:.1f} kB.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
