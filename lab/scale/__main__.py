"""`make scale USERS=10000`: real users in great number, and whether everything that watches them tells the truth."""

from __future__ import annotations

import argparse
import sys
import tempfile
from argparse import ArgumentTypeError
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lab.running.workspace import ROOT, LabError
from lab.scale import report, target
from lab.scale.judge import Judgement, of_run
from lab.scale.lab import INTERVAL, ScaleLab
from lab.scale.plan import guard, plan
from lab.scale.run import run, say
from toolkit.documents import ConfigError
from xmpp.errors import XmppError

if TYPE_CHECKING:
    from collections.abc import Sequence

_QUICK_INTERVAL = 5  # seconds between two scrapes of a short run


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scale", description=__doc__)
    parser.add_argument("--users", type=_number, default=10_000, help="how many (10000)")
    parser.add_argument("--seconds", type=_number, help="how long they live before a node is lost")
    parser.add_argument("--patience", type=_number, help="seconds in which nobody new comes in, to give up (180)")
    parser.add_argument("--guard", action="store_true", help="a short run that writes no report")
    parser.add_argument("--report", action="store_true", help="write the report from the kept results, and end")
    parser.add_argument("--target", metavar="URL", help="a door that exists, wss://HOST/PATH, in place of the lab's")
    parser.add_argument("--accounts", type=Path, metavar="FILE", help="user@domain and password, one account a line")
    parser.add_argument("--ca", metavar="FILE", help="the authority of the target's certificate")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return 0 if all promises were kept, 1 if not, 2 for wrong usage, 130 if interrupted.

    In the lab, where users and servers share one machine, a promise about speed is printed and decides nothing.
    """
    parser = _parser()
    args = parser.parse_args(arguments)
    if (args.target is None) != (args.accounts is None):
        parser.error("--target needs --accounts, and --accounts needs --target")
    wanted = guard(args.users) if args.guard else plan(args.users)
    wanted = replace(wanted, seconds=args.seconds or wanted.seconds, patience=args.patience or wanted.patience)
    try:
        if args.report:
            report.write()
            return 0
        if args.target:
            with tempfile.TemporaryDirectory() as folder:
                verdicts = target.run(args.target, args.accounts, args.ca, wanted, Path(folder) / "log")
            return tell(verdicts, speed=True)
        with ScaleLab(args.users, _QUICK_INTERVAL if args.guard else INTERVAL) as lab:
            result = run(lab, wanted)
        for line in report.steps(result):
            say(f"  {line}")
        if not args.guard:
            report.keep(result)
            report.write()
            say(f"Written to {report.REPORT.relative_to(ROOT)}.")
        return tell(of_run(result), speed=False)
    except (ConfigError, ArgumentTypeError) as error:
        print(f"scale: {error}", file=sys.stderr)
        return 2
    except (LabError, XmppError) as error:
        print(f"scale failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; nothing is left behind.")
        return 130


def tell(verdicts: list[Judgement], *, speed: bool) -> int:
    """Print what was promised and found; return 0 if all of it was kept, with promises about speed if they count."""
    for verdict in verdicts:
        kept = "kept    " if verdict.kept else "NOT KEPT"
        note = "" if speed or not verdict.speed else "  (users and servers share this machine: not judged)"
        say(f"  {kept}  {verdict.what}: {verdict.found}{note}")
    return 0 if all(verdict.kept for verdict in verdicts if speed or not verdict.speed) else 1


def _number(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1_000_000:  # noqa: PLR2004 - more than any door carries
        raise ArgumentTypeError(f"{text!r} is not a number from 1 to 1000000")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
