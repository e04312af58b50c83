"""The README names everything there is: programs, make targets, alerts, folders and dependencies."""

from __future__ import annotations

import re
import tomllib

import pytest

from alerts.catalogue import KNOBS
from lab.running.workspace import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HOUSEKEEPING = {"help", "lock", "clean"}  # said by `make help`


def test_every_program_is_in_it() -> None:
    assert [name for name in PROJECT["scripts"] if f"| `{name}` |" not in README] == []


def test_nothing_in_it_waits_to_be_filled_in() -> None:
    assert re.findall(r"\b[A-Z]+-[A-Z]+\b", README) == []


def test_every_make_target_is_in_it() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert "demo" in targets
    assert [name for name in targets if f"make {name}" not in README and name not in HOUSEKEEPING] == []


def test_every_alert_is_in_it_with_its_runbook() -> None:
    assert sorted(re.findall(r"\[(\w+)\]\(docs/runbooks/\1\.md\)", README)) == sorted(KNOBS)


def test_every_folder_is_in_it() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"prometheus", "deploy", "docs"} - {"docs"}
    assert [name for name in sorted(folders) if f"`{name}/`" not in README] == []


def test_every_dependency_is_in_it_with_its_reason() -> None:
    optional = PROJECT["optional-dependencies"]
    named = [*PROJECT["dependencies"], *(name for names in optional.values() for name in names)]
    packages = {re.split(r"[\[=<>~ ]", name)[0] for name in named}
    table = README.partition("## Dependencies")[2]
    assert [
        name for name in sorted(packages) if not re.search(rf"^\|[^|]*\b{re.escape(name)}\b", table, re.MULTILINE)
    ] == []


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)", README)) - {"https://keepachangelog.com"}))
def test_every_link_leads_somewhere(link: str) -> None:
    assert link.startswith("https://") or (ROOT / link).exists()
