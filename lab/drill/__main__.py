"""`make drill`: breaks the lab once for every alert, and follows each alert from its cause to its receiver.

Faults, exporters, Prometheus and Alertmanager are real. Only the times are shorter: a scrape every 2 s instead of 30 s,
and every `for`, window and wait is divided by the same number. The shorter times, and the thresholds that one machine
cannot reach, are a file for `generate-rules --thresholds`, such as an operator writes.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from alerts.catalogue import KNOBS
from alerts.thresholds import load
from lab.drill import postgresql_faults
from lab.drill.begin import in_a_lab, start
from lab.drill.report import REPORT, DrillResult, report, rows, rows_of
from lab.drill.steps import drill_by_silence, drill_one, wait_for_the_all_clear, wait_for_the_earlier
from lab.drill.table import DRILLS, Drill
from lab.drill.thresholds import HASTE, write_thresholds
from lab.drill.watch import Watch
from lab.running.workspace import ROOT, LabError
from xmpp.errors import XmppError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.stack import Lab

RATE = 40.0  # things the lab's users do a second, so that the short windows hold enough pushes
ROUTES = {"critical": "page", "warning": "ticket", "none": "deadmansswitch"}


def main() -> int:
    """Run the drills; return 0 if each alert fired, and no other, 1 if not, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="drill", description="Cause every alert by breaking what it watches.")
    parser.add_argument("only", nargs="*", metavar="ALERT", help="only these alerts; the report keeps the others' rows")
    only = parser.parse_args().only
    if unknown := set(only) - {drill.alert for drill in DRILLS}:
        parser.error(f"there is no alert named {', '.join(sorted(unknown))}; the names are those of docs/runbooks/")
    drills = [drill for drill in DRILLS if not only or drill.alert in only]
    return in_a_lab("drill", lambda lab: _run(lab, drills))


def _run(lab: Lab, drills: Sequence[Drill]) -> int:
    began = time.monotonic()
    file = write_thresholds(lab.directory / "drill.yaml", load(KNOBS))
    thresholds = load(KNOBS, file)
    lab.traffic.rate = RATE
    start(lab, file)
    watch = Watch(lab)
    watch.until_quiet()
    print(f"No alert is left after {time.monotonic() - began:.0f} s. {len(drills)} drills:", flush=True)
    results: list[DrillResult] = []
    for drill in drills:
        wait_for_the_earlier(watch, drill)
        result = DrillResult(drill, ROUTES[thresholds[drill.alert].severity], began=time.time())
        results.append(result)
        watch.begin()
        try:
            (drill_by_silence if drill.by_silence else drill_one)(watch, drill, result)
        except (LabError, XmppError, OSError, AssertionError) as error:
            result.wrong.append(f"the drill broke off, and those after it did not run: {error}".splitlines()[0])
            break
        finally:
            print(result.line(), flush=True)
        if result.revived and not any(one.drill.breaking is postgresql_faults.primary_lost for one in results):
            result.wrong.append(f"{', '.join(result.revived)} crashed")  # PostgreSQL had not been touched
    else:
        wait_for_the_all_clear(watch, results)
    earlier = rows_of(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {}
    run = rows(results, thresholds, load(KNOBS))
    REPORT.write_text(report(earlier | run, [drill.alert for drill in DRILLS], HASTE), encoding="utf-8")
    wrong = [result for result in results if result.wrong]
    print(f"\n{len(results) - len(wrong)} of {len(drills)} right in {(time.monotonic() - began) / 60:.0f} minutes.")
    print("".join(f"- {one.drill.alert}: {problem}\n" for one in wrong for problem in one.wrong), end="")
    print(f"Written to {REPORT.relative_to(ROOT)}.")
    return 1 if wrong or len(results) < len(drills) else 0


if __name__ == "__main__":
    sys.exit(main())
