"""What can be known of the Lua texts without a Prosody: they are fixed, small, and Lua."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from exporters import prosody
from exporters.prosody.client import commands
from exporters.prosody.reader import INSTRUMENT_VERSION, SCRIPTS

PACKAGE = Path(prosody.__path__[0])


def test_every_lua_file_of_the_package_is_sent_whole_by_one_script() -> None:
    files = {path.stem: path.read_text(encoding="utf-8") for path in PACKAGE.glob("*.lua")}
    parts = files.keys() - SCRIPTS.keys()
    for part in parts:
        assert any(files[part] in sent for sent in SCRIPTS.values()), part
    for name, sent in SCRIPTS.items():
        named = sent
        for part in parts:
            assert sent.count(files[part]) <= 1
            named = named.replace(files[part], f"-- include {part}.lua")
        assert named == files[name]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_command_of_a_script_is_below_the_10000_bytes_that_close_the_connection(name: str) -> None:
    for command in commands(SCRIPTS[name]):
        assert len(escape(command).encode()) < 9_000  # Prosody counts the element around it, too
        assert command.count("]====]") <= 1


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_only_characters_that_xml_carries_unchanged(name: str) -> None:
    assert not re.search(r"[^\t\n\x20-\x7e]", SCRIPTS[name])


def calls_of_lua() -> list[ast.Call]:
    """Every place in the package that sends something to Prosody."""
    return [
        node
        for path in PACKAGE.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "lua"
    ]


def test_nothing_but_an_unchanged_script_is_ever_sent() -> None:
    sent = {ast.unparse(argument) for call in calls_of_lua() for argument in call.args}
    assert len(sent) >= 4
    assert sent == {f"SCRIPTS[{name!r}]" for name in SCRIPTS}


def test_the_texts_are_read_and_never_filled_in() -> None:
    source = (PACKAGE / "reader.py").read_text(encoding="utf-8")
    table = r'^SCRIPTS = \{\s*name: _script\(f"\{name\}\.lua"\)\s+for name in \("[a-z", ]+"\)\s*\}$'
    assert re.search(table, source, re.MULTILINE)
    uses = re.findall(r"SCRIPTS\b(?! = )(.{0,14})", source)
    assert uses
    assert all(use.startswith('["') for use in uses)


def test_the_version_the_exporter_compares_with_is_the_scripts() -> None:
    [version] = re.findall(r"^local VERSION = (\d+);", SCRIPTS["instrument"], re.MULTILINE)
    assert int(version) == INSTRUMENT_VERSION


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_lua(name: str) -> None:
    compiler = shutil.which("luac5.4")
    assert compiler, "luac5.4 is missing: install Debian's package lua5.4, which prosody needs as well"
    path = PACKAGE / f"{name}.lua"
    checked = subprocess.run([compiler, "-p", path], capture_output=True, text=True, check=False, timeout=60)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_long_script_goes_in_pieces_that_add_up_to_it() -> None:
    lines = [f"local a{number} = '<&>' -- {number}\n" for number in range(1000)]
    source = "".join(lines)
    *pieces, last = commands(source)
    assert len(pieces) > 3
    assert "".join(piece.partition("[====[\n")[2].partition("]====]")[0] for piece in pieces) == source
    assert f"== {len(source)}," in last
    assert commands("return 1") == [">return 1"]
