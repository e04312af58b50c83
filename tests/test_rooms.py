"""The house rules of docs/architecture.md: which room may import which, no circles, short files, one thing per name."""

from __future__ import annotations

import ast
import graphlib
from typing import TYPE_CHECKING, Final

import pytest

from lab.running.workspace import ROOT

if TYPE_CHECKING:
    from pathlib import Path

_LAB: Final = ("lab.running", "lab.fakes", "lab.servers", "lab.users", "lab.scraping", "lab.stack")
_PRODUCT: Final = ("toolkit", "xmpp", "exporters", "gateway", "alerts", "dashboards", "check")
# What each room may import besides itself.
MAY_USE: Final = {
    "toolkit": (),
    "xmpp": ("toolkit",),
    "exporters": ("toolkit", "xmpp"),
    "gateway": ("toolkit", "xmpp"),
    "alerts": ("toolkit",),
    "dashboards": ("toolkit", "alerts"),
    "check": ("toolkit", "exporters", "gateway", "alerts", "dashboards"),  # what the programs promise
    "lab": (),
    "lab.versions": ("lab.running",),
    "lab.running": (),
    "lab.release": ("lab.running", "toolkit"),
    "lab.scraping": (),
    "lab.fakes": ("lab.running", *_PRODUCT),
    "lab.servers": ("lab.running", "lab.fakes", *_PRODUCT),
    "lab.users": ("lab.running", "lab.fakes", "lab.servers", *_PRODUCT),
    "lab.stack": ("lab.running", "lab.fakes", "lab.servers", "lab.users", *_PRODUCT),
    "lab.demo": (*_LAB, "lab.drill", *_PRODUCT),  # it shows the drill's faults
    "lab.drill": (*_LAB, *_PRODUCT),
    "lab.scale": (*_LAB, *_PRODUCT),
    "bench": (*_LAB, *_PRODUCT),
    "tests": (*_LAB, "lab.demo", "lab.drill", "lab.scale", "lab.release", "bench", *_PRODUCT),
}
# A file that is longer than a reader can keep in mind is split by what its parts do.
LONGEST: Final = 350  # lines
LONGER: Final = {  # file, and why
    "gateway/http2.py": "one HTTP/2 connection, whose states belong together",
    "tests/dashboards/test_limits.py": "a table: one panel after the other",
    "tests/dashboards/test_lint.py": "one rule after the other",
}
# Classes of the same name that are the same thing in several rooms; every other name stands for one class.
SHARED_NAMES: Final = {
    "Node": "a Prosody's host: as configured for the test users, and as the lab runs it",
    "Reader": "reads a target and returns its snapshot; one for each target",
    "Received": "a push that a fake provider received; one for each provider",
    "Request": "a request on an HTTP/2 connection: as the gateway sends it, and as a fake receives it",
    "Settings": "what the configuration of a program says; one for each program",
    "Snapshot": "all data of one read of a target; one for each target",
}
TARGETS: Final = sorted(path.name for path in (ROOT / "exporters").iterdir() if (path / "__main__.py").exists())


def _files() -> dict[str, Path]:
    """Return every Python file by its module name."""
    files = [path for room in {room.split(".")[0] for room in MAY_USE} for path in (ROOT / room).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def imported(source: str, module: str, known: frozenset[str]) -> set[str]:
    """Return the modules of ours that a source imports; under TYPE_CHECKING too, a name's type is knowledge as well."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module.split(".")[: -node.level]) if node.level else ""
            whole = ".".join(filter(None, (base, node.module)))
            # `from package import module` imports the module; `from module import name` the module before the name.
            found |= {inner if (inner := f"{whole}.{alias.name}") in known else whole for alias in node.names}
    return found & known


FILES: Final = _files()
KNOWN: Final = frozenset(FILES)
IMPORTS: Final = {module: imported(path.read_text(encoding="utf-8"), module, KNOWN) for module, path in FILES.items()}


def room(module: str) -> str:
    """Return the room of a module: the longest name of MAY_USE that it begins with."""
    return max((name for name in MAY_USE if f"{module}.".startswith(f"{name}.")), key=len)


@pytest.mark.parametrize("name", MAY_USE)
def test_a_room_imports_only_the_rooms_it_may_use(name: str) -> None:
    allowed = {name, *MAY_USE[name], "lab" if name.startswith("lab.") else name}
    wrong = [
        f"{module} imports {other}"
        for module in sorted(FILES)
        if room(module) == name
        for other in sorted(IMPORTS[module])
        if room(other) not in allowed
    ]
    assert not wrong


@pytest.mark.parametrize("target", TARGETS)
def test_an_exporter_knows_no_other_exporter(target: str) -> None:
    others = tuple(f"exporters.{other}." for other in TARGETS if other != target)
    wrong = [
        f"{module} imports {other}"
        for module, used in IMPORTS.items()
        if module.startswith(f"exporters.{target}")
        for other in used
        if f"{other}.".startswith(others)
    ]
    assert not wrong


def test_no_files_import_each_other_in_a_circle() -> None:
    graphlib.TopologicalSorter(IMPORTS).prepare()  # raises CycleError, which names the circle


def test_no_file_is_longer_than_a_reader_can_keep_in_mind() -> None:
    lines = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in FILES.values()}
    long = {name for name, count in lines.items() if count > LONGEST}
    assert long == set(LONGER), "split a file by what its parts do; take one that is short again off the list"


def test_a_class_name_stands_for_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for module, path in FILES.items():
        if room(module) not in {"tests", "bench"}:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(module)
    shared = {name: found for name, found in places.items() if len(found) > 1}
    assert shared.keys() == SHARED_NAMES.keys(), shared


def test_every_import_counts_wherever_it_stands() -> None:
    source = """
import lab.stack
from lab.running import server
from lab.running.ports import Ports
from . import other
from .other import thing
import json
if TYPE_CHECKING:
    from toolkit.web import run
def late():
    from xmpp import client
"""
    known = frozenset({"lab.stack", "lab.running.server", "lab.running.ports", "lab.running", "a.other", "toolkit.web",
                       "xmpp.client", "xmpp"})  # fmt: skip
    assert imported(source, "a.b", known) == known - {"lab.running", "xmpp"}
