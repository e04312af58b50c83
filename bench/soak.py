"""Ten minutes of churn at 50 logins a second on a real Prosody, and 20 scrapes a second: every total must be exact.

Unlike the benchmarks this one judges: it ends with exit code 1 if a single count is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import psutil

from lab.scraping import ScrapedPage, scrape
from lab.stack import Lab
from lab.users.traffic import Mix, Traffic, Truth

SETTLE_SECONDS = 130  # two reconciliations, which run every 60 s
SCRAPE_SECONDS = 0.05  # between two scrapes of the exporter while sessions come and go


def _compare(metrics: ScrapedPage, held: Truth, churned: Truth) -> list[tuple[str, float, float]]:
    """Return (what, expected, seen) for everything that is known."""
    rows = [("sessions", float(sum(held.sessions.values())), metrics("prosody_c2s_sessions"))]
    rows.append(("hibernated", float(held.hibernated), metrics("prosody_c2s_hibernated_sessions")))
    for result in ("success", "failure"):
        known = held.authentications[result] + churned.authentications[result]
        rows.append((f"logins, {result}", known, metrics("prosody_authentications_total", result=result)))
    for direction, one, other in (("in", held.sent, churned.sent), ("out", held.received, churned.received)):
        for kind in ("message", "presence", "iq"):
            seen = metrics("prosody_stanzas_total", direction=direction, kind=kind)
            rows.append((f"{kind} {direction}", one[kind] + other[kind], seen))
    rows.append(("drift found", 0, metrics("prosody_exporter_session_drift_total")))
    rows.append(("errors in the counting script", 0, metrics("prosody_exporter_instrument_errors_total")))
    return rows


async def _scrape_on(url: str, durations: list[float]) -> None:
    """Scrape again and again until cancelled; add how long each took, in seconds. Raises if one fails."""
    while True:
        began = time.monotonic()
        metrics = await scrape(url)
        if metrics("prosody_up") != 1:
            raise RuntimeError(f"the exporter says that Prosody is down:\n{metrics.text}")
        durations.append(time.monotonic() - began)
        await asyncio.sleep(SCRAPE_SECONDS - durations[-1])


async def soak(rate: float, seconds: float) -> int:
    """Run it; returns the exit code."""
    with Lab() as lab:
        lab.start(lab.prosody, lab.prosody_exporter)
        url = lab.prosody_exporter.url
        holding = Traffic(lab.prosody.endpoints(), lab.prosody.admin_socket)
        churning = Traffic(lab.prosody.endpoints(), lab.prosody.admin_socket, prefix="churn")
        async with holding, churning:
            durations: list[float] = []
            held = await holding.hold(Mix(websocket=20, tcp=5, away=6))
            print(f"churn: {rate:g} logins a second for {seconds:g} s, beside 25 sessions held")
            before = psutil.Process(lab.prosody_exporter.pid).memory_info().rss
            began = time.monotonic()
            scraping = asyncio.create_task(_scrape_on(url, durations))
            churned = await churning.churn(rate, seconds)
            took = time.monotonic() - began
            if scraping.done():
                await scraping  # it failed, so say why
            scraping.cancel()
            print(f"done in {took:.0f} s; waiting {SETTLE_SECONDS} s for two reconciliations")
            await asyncio.sleep(SETTLE_SECONDS)
            metrics = await scrape(url)
            grown = psutil.Process(lab.prosody_exporter.pid).memory_info().rss - before
            rows = _compare(metrics, held, churned)
    for what, expected, seen in rows:
        print(f"  {what:30} {expected:10.0f} known  {seen:10.0f} reported  {'' if expected == seen else 'WRONG'}")
    durations.sort()
    middle, longest = durations[len(durations) // 2] * 1e3, durations[-1] * 1e3
    print(f"  {len(durations)} scrapes meanwhile: P50 {middle:.0f} ms, longest {longest:.0f} ms")
    passes = metrics("prosody_exporter_reconciliations_total")
    print(f"  {passes:.0f} reconciliations; the exporter grew by {grown / 1e6:.1f} MB")
    return int(any(expected != seen for _, expected, seen in rows))


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=50, help="logins a second")
    parser.add_argument("--seconds", type=float, default=600)
    args = parser.parse_args()
    return asyncio.run(soak(args.rate, args.seconds))


if __name__ == "__main__":
    sys.exit(main())
