"""What `make scaling` makes of its measurements, how its nodes are simulated, and how it ends."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench import scaling
from bench.scaling import KEPT, REPORT, main, read_over_time
from bench.scaling_report import report
from bench.scaling_results import Cost, Query, Results, Size, Storage, Victoria, limits, line
from bench.simulated import Page, Simulation, grown_to, page
from lab.fakes.recordings import SOURCES
from lab.running.workspace import LabError
from lab.scraping import ScrapedPage

if TYPE_CHECKING:
    from pathlib import Path


def _size(nodes: int) -> Size:
    """Return a size on straight lines: 100 series, 10 samples, 0.01 cores and 10 MB for each node, and 6 s of rules."""
    return Size(
        nodes=nodes,
        targets=3 * nodes,
        node_series=90,
        series=90.0 * nodes + 500,
        recorded=10.0 * nodes,
        scraped=9.0 * nodes,
        added=1.0 * nodes,
        prometheus=Cost(0.01 * nodes, 6.0 * nodes, 10e6 * nodes),
        groups={"a": (0.3, 15), "b": (0.8, 60)},
        firing=nodes,
        federated=nodes,
    )


RESULTS = Results(
    dates=["2030-01-31"],
    versions=[("2.42.0", "1.145.0")],
    seconds=300.0,
    sizes=[_size(5), _size(100), _size(200)],
    victoria=Victoria(100, 10_000, Cost(0.1, 1.0, 50e6), Cost(0.0, 0.5, 5e6), [Query("Rule", 0.01, 0.02, (7, 8))]),
    storage=Storage(1000, 100_000, 120_000, 80_000, 40_000, 10_000),
    notes=[],
)


def test_a_line_goes_through_points_that_are_straight_and_says_where_it_reaches_a_value() -> None:
    straight = line([(5, 20.0), (100, 210.0), (200, 410.0)])
    assert (straight.zero, straight.each) == pytest.approx((10, 2))
    assert straight.at(1000) == pytest.approx(2010)
    assert straight.reaches(2010) == pytest.approx(1000)
    assert line([(5, 3.0), (10, 3.0)]).reaches(4) == math.inf


def test_the_end_is_where_memory_or_processors_are_used_up() -> None:
    # A node: 10 MB; 0.01 cores and 6 s in 60 s, together 0.11 cores.
    assert dict(limits(RESULTS.sizes)) == pytest.approx(
        {
            "4 GB of memory": 400,
            "16 GB of memory": 1600,
            "scrapes and rules on 2 processors": 2 / 0.11,
            "scrapes and rules on 4 processors": 4 / 0.11,
            "rules that one processor evaluates one after the other": 10,
        }
    )


def test_the_cpu_of_rules_is_divided_by_how_long_each_group_takes_and_how_often() -> None:
    size = _size(10)  # 60 s of CPU in a minute, in which a takes 4 x 0.3 s and b 0.8 s by the clock
    assert size.evaluations == pytest.approx({"a": 9.0, "b": 24.0})


def test_groups_are_compared_only_if_the_clock_is_near_the_cpu() -> None:
    assert _size(10).quiet  # 60 s of CPU, 2 s by the clock
    busy = replace(_size(5), groups={"a": (20.0, 15)})  # 30 s of CPU, 80 s by the clock
    assert "| a | 15 s | 4.500 s |" in report(RESULTS)
    text = report(replace(RESULTS, sizes=[busy, *RESULTS.sizes[1:]]))
    assert "| a | 15 s |" not in text
    assert "too much other work" in text


def test_the_report_says_what_is_measured_and_what_is_extrapolated() -> None:
    rows = [text for text in report(RESULTS).splitlines() if "| measured | " in text or "**extrapolated** |" in text]
    assert [row.split(" | ")[:2] for row in rows] == [
        *(["| " + nodes, "measured"] for nodes in ("5", "100", "200")),
        ["| 1,000", "**extrapolated**"],
    ]
    disk = 10_000 * 2.0 * 86400 * 90 / 1e9  # 10,000 samples a second of 2 bytes
    assert "| 100,500 | 10,000 | 10.000 | 6000.0 s | 10.00 GB | " + f"{disk:,.0f} GB |" in rows[-1]


def test_a_note_on_how_a_part_was_measured_is_in_the_report() -> None:
    assert "Measured otherwise." in report(replace(RESULTS, notes=["Measured otherwise."]))


def test_a_size_that_is_not_on_the_line_is_seen_in_the_report() -> None:
    bent = replace(RESULTS, sizes=[*RESULTS.sizes[:-1], replace(RESULTS.sizes[-1], series=40_000.0)])
    assert "| series | 500 + n x 100 | 20,500 | 20,500 |" in report(RESULTS)
    (row,) = (text for text in report(bent).splitlines() if text.startswith("| series | ") and "n x" in text)
    assert row.endswith("| 20,500 | 42,000 |")


def test_the_committed_report_is_that_of_the_kept_results() -> None:
    kept = Results.read(json.loads(KEPT.read_text(encoding="utf-8")))
    assert REPORT.read_text(encoding="utf-8") == report(kept)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let all be measured at once, and be written into a folder of its own."""
    monkeypatch.setattr(scaling, "KEPT", tmp_path / "kept.json")
    monkeypatch.setattr(scaling, "REPORT", tmp_path / "report.md")
    monkeypatch.setattr(scaling, "store", lambda: RESULTS.storage)
    monkeypatch.setattr(
        scaling,
        "measure",
        lambda nodes: {"size": _size(nodes)} | ({"victoria": RESULTS.victoria} if nodes == 100 else {}),
    )
    return tmp_path


def test_what_is_kept_is_what_was_measured(measured: Path) -> None:
    assert main(["--victoriametrics", "1.145.0"]) == 0
    results = Results.read(json.loads((measured / "kept.json").read_text(encoding="utf-8")))
    assert replace(results, dates=RESULTS.dates, versions=RESULTS.versions, seconds=300.0) == RESULTS
    text = (measured / "report.md").read_text(encoding="utf-8")
    (measured / "report.md").unlink()
    assert main(["--report"]) == 0
    assert (measured / "report.md").read_text(encoding="utf-8") == text == report(results)


def test_a_part_that_is_measured_again_leaves_the_others_and_without_all_parts_there_is_no_report(
    measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["storage", "5", "200"]) == 1
    assert capsys.readouterr().err == "scaling: no report yet: 100 was never measured\n"
    assert not (measured / "report.md").exists()
    assert main(["100"]) == 0
    assert (measured / "report.md").exists()


def test_a_machine_that_is_too_busy_is_one_line_and_keeps_nothing(
    measured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: int) -> dict[str, object]:
        raise LabError("3 targets were not scraped in time")

    monkeypatch.setattr(scaling, "measure", fails)
    assert main(["5"]) == 1
    assert capsys.readouterr().err == "scaling: 3 targets were not scraped in time\n"
    assert not list(measured.iterdir())


def test_an_unknown_part_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["25"])
    assert end.value.code == 2
    assert "no such part: 25" in capsys.readouterr().err


@pytest.mark.parametrize(("job", "series"), [("haproxy", 53 * 2), ("synthetic", 300)])
def test_a_page_that_tells_of_nodes_has_as_much_of_each(job: str, series: int) -> None:
    sizes = {nodes: Page(grown_to(job, page(job), nodes)).series for nodes in (3, 4, 5)}  # three coturns with each
    assert sizes[5] - sizes[4] == sizes[4] - sizes[3] >= series
    names = {label for sample in _scraped(job, 4).samples for label in sample.labels.values()}
    assert "prosody4" in names
    assert not {"p2", "prosody5"} & names


def _scraped(job: str, nodes: int, step: int = 0) -> ScrapedPage:
    return ScrapedPage(Page(grown_to(job, page(job), nodes)).at(step))


@pytest.mark.parametrize("job", SOURCES)
def test_what_counted_goes_on_counting_and_nothing_else_begins_to(job: str) -> None:
    kinds = {name: kind for _, _, name, kind in (text.split() for text in page(job).splitlines() if "# TYPE" in text)}
    before, after = ({(s.name, str(s.labels)): s.value for s in _scraped(job, 3, n).samples} for n in (7, 8))
    assert before.keys() == after.keys()
    for series, value in before.items():
        family = series[0].removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
        counts = kinds.get(series[0]) == "counter" or kinds.get(family) == "histogram"
        if counts and value and not math.isnan(value):
            assert after[series] > value, series
        elif not value:
            assert after[series] == 0, series


def test_the_buckets_of_a_histogram_stay_in_order() -> None:
    edges: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for sample in _scraped("push-gateway", 3, 9).samples:
        if sample.name.endswith("_bucket"):
            others = tuple(value for key, value in sample.labels.items() if key != "le")
            edges.setdefault((sample.name, *others), []).append((float(sample.labels["le"]), sample.value))
    assert edges
    assert all([value for _, value in sorted(found)] == sorted(value for _, value in found) for found in edges.values())


def test_each_job_has_samples_at_its_own_interval_for_each_of_its_targets(tmp_path: Path) -> None:
    file = tmp_path / "history.om"
    written = Simulation(5).write_samples(
        file, range(0, 60, 15), {"prosody_up", "push_retries_total"}.__contains__, tuple(SOURCES)
    )
    text = file.read_text(encoding="utf-8")
    up = [each for each in text.splitlines() if each.startswith("prosody_up{")]
    assert len(up) == 5 * 2  # every 30 s
    assert text.count('push_retries_total{job="push-gateway",instance="prosody5"') % 4 == 0  # every 15 s
    assert len(text.splitlines()) == written + 1
    assert text.endswith("\n# EOF\n")


def test_the_history_is_of_what_rules_read_over_a_time() -> None:
    assert {"push_latency_ms_bucket", "prosody_c2s_sessions"} <= read_over_time()
    assert "prosody_build_info" not in read_over_time()
