"""The command `generate-rules`: writes the rule files, or with --check only says whether they are up to date."""

import argparse
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from alerts.catalogue import KNOBS
from alerts.jobs import JOBS
from alerts.objectives import load as load_objectives
from alerts.render import Links, alerting_rules, panel_rules, promise_rules, recording_rules
from alerts.thresholds import load
from toolkit.documents import ConfigError

RULES: Final = Path(__file__).with_name("rules")
RUNBOOKS: Final = "https://github.com/commeazy/monitoring/blob/main/docs/runbooks"
DASHBOARDS: Final = "https://grafana.commeazy.com/d"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, 1 when --check finds old files, 2 for a file that cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        links = Links(options.runbook_url, options.dashboard_url)
        files = render(options.thresholds, links, options.without, options.objectives)
        return _check(options.output, files) if options.check else _write(options.output, files)
    except ConfigError as error:
        print(f"generate-rules: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
    except OSError as error:
        place = error.filename or options.output  # a full disk is nobody's file
        print(f"generate-rules: {place}: cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201 - a command's answer
    return 2


def render(
    overrides: Path | None,
    links: Links,
    without: Collection[str] = (),
    objectives: Path | None = None,
    haste: int = 1,
) -> dict[str, str]:
    """Return the text of each rule file by its name.

    Args:
        overrides: thresholds that differ from the defaults; None for the defaults.
        links: where runbooks and dashboards are found.
        without: jobs that have no targets here.
        objectives: promises that differ from the defaults; None for the defaults.
        haste: what every window of the promises is divided by; 1 but for a demonstration.

    Raises:
        ConfigError: for thresholds or objectives that cannot be used.

    """
    thresholds = load(KNOBS, overrides)
    promised = load_objectives(KNOBS, objectives).measured(without)
    sources = "alerts/thresholds.yaml" + (f", {overrides.name}" if overrides else "") + " and alerts/catalogue"
    measures = "alerts/objectives.yaml" + (f" and {objectives.name}" if objectives else "")
    return {
        "recording.yaml": recording_rules(thresholds, sources),
        "panels.yaml": panel_rules(sources),
        "promises.yaml": promise_rules(promised, thresholds, measures, haste),
        "alerts.yaml": alerting_rules(thresholds, links, sources, without, promised.objectives.values()),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="generate-rules", description="Write the rule files of Prometheus.")
    add = parser.add_argument
    add("--thresholds", type=Path, metavar="FILE", help="thresholds that differ from alerts/thresholds.yaml")
    add("--objectives", type=Path, metavar="FILE", help="promises that differ from alerts/objectives.yaml")
    add("--output", type=Path, metavar="DIR", default=RULES, help="where the files go (%(default)s)")
    add("--runbook-url", metavar="URL", default=RUNBOOKS, help="base of the runbooks (%(default)s)")
    add("--dashboard-url", metavar="URL", default=DASHBOARDS, help="base of the dashboards (%(default)s)")
    add(
        "--without",
        action="append",
        choices=sorted(JOBS),
        default=[],
        metavar="JOB",
        help="a job that has no targets here, such as coturn; may be repeated",
    )
    add("--check", action="store_true", help="write nothing; exit 1 if a file is not up to date")
    return parser


def _write(folder: Path, files: dict[str, str]) -> int:
    """Write all files elsewhere first, so that no reader gets half a file and a full disk keeps the old ones."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as name:
        new = Path(name)
        for file, text in files.items():
            (new / file).write_text(text, encoding="utf-8")
            (new / file).chmod(0o644)
        for file in files:
            (new / file).replace(folder / file)
    return 0


def _check(folder: Path, files: dict[str, str]) -> int:
    written = {name: (folder / name).read_bytes() for name in files if (folder / name).is_file()}
    old = [name for name, text in files.items() if written.get(name) != text.encode()]
    for name in old:
        print(f"generate-rules: {folder / name} is not what the catalogue says; run generate-rules", file=sys.stderr)  # noqa: T201 - a command's answer
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
