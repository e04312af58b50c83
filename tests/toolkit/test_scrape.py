"""The scrape itself: its deadline, the shared read, and what it says about failures."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import TYPE_CHECKING

import pytest
from prometheus_client.core import GaugeMetricFamily

from tests.toolkit.fakes import Target
from toolkit.scrape import Scrape, TargetError, deadline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

LONG = 60.0  # seconds no test waits for
SHORT = 0.01


async def scraped(scrape: Scrape[int], seconds: float) -> dict[str, float]:
    """Scrape, and give every sample's value by name and label values."""
    reading = await scrape.read(seconds)
    try:
        values = _values(scrape.families(reading))
    except Exception:  # noqa: BLE001 - as the web server does
        return _values(scrape.about(scrape.unusable(reading)))
    scrape.used(reading)
    return values


def _values(families: Iterable[Metric]) -> dict[str, float]:
    return {
        sample.name + "".join(f"/{value}" for value in sample.labels.values()): float(sample.value)
        for family in families
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("10", 9.5),
        ("10.000000", 9.5),
        ("15", 14.5),
        ("1", 0.5),
        ("0.5", 0.25),
        ("0.1", 0.05),
        (None, 9.5),
        ("", 9.5),
        ("soon", 9.5),
        ("0", 9.5),
        ("-3", 9.5),
        ("nan", 9.5),
        ("inf", 9.5),
        ("1e999", 9.5),
    ],
)
def test_deadline_leaves_a_margin_and_stays_positive(header: str | None, seconds: float) -> None:
    assert deadline(header) == seconds


async def test_a_read_target_is_up_with_its_families_and_those_about_the_scrape() -> None:
    got = await scraped(Scrape(Target().exporter(), "1.2"), LONG)
    assert got["demo_up"] == 1
    assert got["demo_reads"] == 1
    assert got["demo_exporter_build_info/1.2"] == 1
    assert got["demo_exporter_scrape_duration_seconds"] >= 0
    assert got["process_resident_memory_bytes"] > 0


async def test_every_failure_reason_is_a_series_from_the_start() -> None:
    got = await scraped(Scrape(Target().exporter(), "1"), LONG)
    failures = {key.rsplit("/", 1)[1]: value for key, value in got.items() if "_scrape_failures_total" in key}
    assert failures == {"refused": 0, "protocol": 0, "timeout": 0, "internal": 0}


async def test_an_exporter_without_one_target_has_no_up() -> None:
    exporter = dataclasses.replace(Target().exporter(), up_help=None)
    assert "demo_up" not in await scraped(Scrape(exporter, "1"), LONG)


async def test_scrapes_at_once_share_one_read_and_later_ones_read_again() -> None:
    target = Target()
    target.answers.clear()
    scrape = Scrape(target.exporter(), "1")
    first = asyncio.create_task(scraped(scrape, LONG))
    await target.reading.wait()
    second = asyncio.create_task(scraped(scrape, LONG))
    await asyncio.sleep(0)  # lets the second scrape join
    target.answers.set()
    assert [(await one)["demo_reads"] for one in (first, second)] == [1, 1]
    assert (await scraped(scrape, LONG))["demo_reads"] == 2


async def test_a_slow_target_is_down_in_time_and_counted() -> None:
    target = Target()
    target.answers.clear()
    scrape = Scrape(target.exporter(), "1")
    got = await scraped(scrape, SHORT)
    assert got["demo_up"] == 0
    assert got["demo_exporter_scrape_failures_total/timeout"] == 1
    assert got["demo_always"] == 1
    assert "demo_reads" not in got


async def test_a_scrape_that_gives_up_leaves_the_read_to_the_other() -> None:
    target = Target()
    target.answers.clear()
    scrape = Scrape(target.exporter(), "1")
    patient = asyncio.create_task(scraped(scrape, LONG))
    await target.reading.wait()
    assert (await scraped(scrape, SHORT))["demo_up"] == 0
    target.answers.set()
    assert (await patient)["demo_up"] == 1
    assert target.reads == 1


async def test_a_scrape_with_time_left_reads_again_when_the_read_it_joined_ran_out() -> None:
    target = Target()
    target.answers.clear()
    scrape = Scrape(target.exporter(), "1")
    hasty = asyncio.create_task(scraped(scrape, 0.05))
    await target.reading.wait()
    patient = asyncio.create_task(scraped(scrape, LONG))
    assert (await hasty)["demo_up"] == 0
    target.answers.set()
    got = await patient
    assert got["demo_up"] == 1
    assert got["demo_reads"] == 2


async def test_a_hung_read_is_cancelled_and_never_holds_the_next_scrape() -> None:
    target = Target()
    target.answers.clear()
    scrape = Scrape(target.exporter(), "1")
    await scraped(scrape, SHORT)
    target.answers.set()
    assert (await scraped(scrape, LONG))["demo_up"] == 1
    assert (target.reads, target.cancelled) == (2, 1)


async def test_a_client_that_goes_away_does_not_cancel_the_read_of_another() -> None:
    target = Target()
    target.answers.clear()
    scrape = Scrape(target.exporter(), "1")
    leaving = asyncio.create_task(scraped(scrape, LONG))
    await target.reading.wait()
    staying = asyncio.create_task(scraped(scrape, LONG))
    await asyncio.sleep(0)  # lets the second scrape join
    leaving.cancel()
    target.answers.set()
    assert (await staying)["demo_reads"] == 1


async def test_close_ends_a_read_under_way() -> None:
    target = Target()
    target.answers.clear()
    scrape = Scrape(target.exporter(), "1")
    scraping = asyncio.create_task(scraped(scrape, LONG))
    await target.reading.wait()
    await scrape.close()
    assert target.cancelled == 1
    with pytest.raises(asyncio.CancelledError):
        await scraping


async def test_a_failure_counts_each_time_and_is_logged_once_until_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    target = Target()
    scrape = Scrape(target.exporter(), "1")
    target.error = TargetError("refused", "demo refused the connection; start it")
    for _ in range(3):
        got = await scraped(scrape, LONG)
    assert got["demo_up"] == 0
    assert got["demo_exporter_scrape_failures_total/refused"] == 3
    target.error = TargetError("protocol", "demo sent garbage; is it demo?")
    await scraped(scrape, LONG)
    target.error = None
    await scraped(scrape, LONG)
    await scraped(scrape, LONG)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "scrape failed: demo refused the connection; start it"),
        ("WARNING", "scrape failed: demo sent garbage; is it demo?"),
        ("INFO", "scrape succeeds again"),
    ]


@pytest.mark.parametrize("error", [ZeroDivisionError("bug"), TimeoutError("not the scrape's own")])
async def test_a_bug_in_reading_is_down_and_internal_with_a_traceback(
    caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    target = Target()
    target.error = error
    got = await scraped(Scrape(target.exporter(), "1"), LONG)
    assert got["demo_up"] == 0
    assert got["demo_exporter_scrape_failures_total/internal"] == 1
    assert got["demo_exporter_scrape_failures_total/timeout"] == 0
    [record] = caplog.records
    assert record.exc_info


async def test_a_bug_in_collecting_is_down_and_counts_once(caplog: pytest.LogCaptureFixture) -> None:
    def broken(snapshot: int | None) -> Iterable[Metric]:
        raise KeyError(snapshot)

    target = Target()
    scrape = Scrape(dataclasses.replace(target.exporter(), collect=broken), "1")
    got = await scraped(scrape, LONG)
    assert got["demo_up"] == 0
    assert got["demo_exporter_scrape_failures_total/internal"] == 1
    target.error = TargetError("refused", "demo refused the connection; start it")
    got = await scraped(scrape, LONG)
    assert got["demo_exporter_scrape_failures_total/internal"] == 1
    assert got["demo_exporter_scrape_failures_total/refused"] == 1
    assert [bool(record.exc_info) for record in caplog.records] == [True, False]


async def test_a_bug_in_rendering_is_logged_once_and_leaves_what_is_about_the_scrape(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def unrenderable(_: int | None) -> Iterable[Metric]:
        yield GaugeMetricFamily("demo_bad", "A value that is none.", value="high")  # type: ignore[arg-type]

    scrape = Scrape(dataclasses.replace(Target().exporter(), collect=unrenderable), "1")
    for _ in range(2):
        got = await scraped(scrape, LONG)
    assert got["demo_up"] == 0
    assert got["demo_exporter_scrape_failures_total/internal"] == 2
    assert len(caplog.records) == 1
