"""The SBOM of a folder of wheels, and the check of the lock against advisories in a file."""

from __future__ import annotations

import hashlib
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from lab.release import affected, main, pinned

if TYPE_CHECKING:
    from pathlib import Path

AIOHTTP = pinned()["aiohttp"]


def wheel(folder: Path, name: str, version: str, *fields: str) -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as made:
        metadata = "\n".join((f"Name: {name}", f"Version: {version}", *fields)) + "\n"
        made.writestr(f"{name}-{version}.dist-info/METADATA", metadata)
    return path


def advisory(**entry: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"id": "X-1", "summary": "bad", "affected": [{"package": {"ecosystem": "PyPI", "name": "AioHTTP"}, **entry}]}


def events(*made: dict[str, str]) -> dict[str, Any]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": list(made)}]}


def test_the_sbom_has_every_wheel_with_its_hash_and_licence(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    one = wheel(wheels, "Some_Lib", "1.2", "License-Expression: MIT")
    wheel(wheels, "other", "3", "Classifier: License :: OSI Approved :: BSD License")
    wheel(wheels, "silent", "4")
    assert main(["sbom", str(wheels)]) == 0
    written = json.loads((tmp_path / "sbom.cdx.json").read_text())
    assert (written["bomFormat"], written["specVersion"]) == ("CycloneDX", "1.6")
    first, second, third = written["components"]
    assert first["purl"] == "pkg:pypi/some-lib@1.2"
    assert first["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(one.read_bytes()).hexdigest()}]
    assert first["licenses"] == [{"license": {"name": "MIT"}}]
    assert second["licenses"] == [{"license": {"name": "BSD License"}}]
    assert "licenses" not in third
    assert "| silent | 4 | not said in its metadata |" in (tmp_path / "LICENCES.md").read_text()


@pytest.mark.parametrize(
    ("entry", "applies"),
    [
        ({"versions": [AIOHTTP]}, True),
        ({"versions": ["0.1"]}, False),
        (events({"introduced": "0"}), True),
        (events({"introduced": "0"}, {"fixed": "0.1"}), False),
        (events({"introduced": "0"}, {"fixed": "99"}), True),
        (events({"introduced": "99"}), False),
        (events({"introduced": "0"}, {"last_affected": AIOHTTP}), True),
    ],
)
def test_an_advisory_applies_to_the_versions_it_names(entry: dict[str, Any], *, applies: bool) -> None:
    assert affected(advisory(**entry), pinned()) == ([f"aiohttp=={AIOHTTP}"] if applies else [])


def test_the_audit_says_what_applies_and_that_it_cannot_say_without_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit"]) == 2
    assert "cannot say" in capsys.readouterr().err
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("X-1.json", json.dumps(advisory(versions=[AIOHTTP])))
        made.writestr("X-2.json", json.dumps(advisory(versions=["0.1"])))
    assert main(["audit", str(archive)]) == 1
    assert f"aiohttp=={AIOHTTP}: X-1: bad" in capsys.readouterr().out
    (tmp_path / "none.json").write_text("[]")
    assert main(["audit", str(tmp_path / "none.json")]) == 1
    (tmp_path / "broken.json").write_text("{")
    assert main(["audit", str(tmp_path / "broken.json")]) == 2
