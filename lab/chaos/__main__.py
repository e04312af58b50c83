"""`make chaos`: random faults while traffic runs; ends with its tables, and with 1 if anything was wrong."""

from __future__ import annotations

import argparse
import random
import sys

from lab.chaos import report
from lab.chaos.log_disk import LogDisk
from lab.chaos.run import Run
from lab.running.interrupts import INTERRUPTS
from lab.running.workspace import ROOT, LabError
from lab.stack import Lab

REPORT = ROOT / "docs/chaos-report.md"
FULL_LENGTH = 30.0  # minutes; a shorter run writes no report


def main() -> int:
    """Run; return 0 if nothing was wrong, 1 if something was, 130 if it was interrupted."""
    parser = argparse.ArgumentParser(prog="chaos", description="Random faults in the whole stack, and a judge.")
    parser.add_argument("--minutes", type=_positive, default=FULL_LENGTH, help="how long faults are made (30)")
    parser.add_argument("--seed", type=int, help="decides every choice, to repeat a run; a new one unless given")
    parser.add_argument("--only", default="", metavar="WORDS", help="only faults with these words in their names")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    try:
        with INTERRUPTS, LogDisk() as disk, Lab() as lab:
            run = Run(lab, disk, seed, arguments.only)
            print(f"Seed {seed}. Starting on 127.0.0.1, in a temporary directory ...", flush=True)
            for _ in run.start():
                pass
            print(f"Faults for {arguments.minutes:g} minutes, after a short while without any:", flush=True)
            result = run.play(60 * arguments.minutes)
    except KeyboardInterrupt:
        print("\nStopped; nothing is left behind.")
        return 130
    except LabError as error:
        print(f"chaos failed: {error}", file=sys.stderr)
        return 1
    text = "\n".join(report.lines(result)) + "\n"
    print(f"\n{text}", end="")
    if arguments.minutes >= FULL_LENGTH and not arguments.only:
        REPORT.write_text(text, encoding="utf-8")
        print(f"\nWritten to {REPORT.relative_to(ROOT)}.")
    return 1 if result.wrong else 0


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of minutes above 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
