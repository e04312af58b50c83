"""What a release is made of: an SBOM (CycloneDX 1.6), the licences, and known advisories. It fetches nothing.

`python -m lab.release sbom FOLDER` reads the wheels of a distribution and writes sbom.cdx.json and LICENCES.md beside
them. `python -m lab.release audit [PATH]` compares requirements.lock with advisories in OSV's format: a file, a folder,
or the archive all.zip that osv.dev offers for PyPI.
"""

from __future__ import annotations

import argparse
import email
import hashlib
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from lab.running.workspace import ROOT
from toolkit import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
_CLASSIFIER = "License :: OSI Approved :: "
_CANNOT_SAY = 2


class Component(NamedTuple):
    """One wheel: what it is, under which licence, as its own metadata has it ("" if it has none), and its SHA-256."""

    name: str
    version: str
    licence: str
    sha256: str


def components(folder: Path) -> list[Component]:
    """Read every wheel of a folder."""
    return sorted(_component(path) for path in folder.glob("*.whl"))


def _component(path: Path) -> Component:
    with zipfile.ZipFile(path) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(wheel.read(name))
    classifiers = [text for text in metadata.get_all("Classifier", []) if text.startswith(_CLASSIFIER)]
    written = (metadata.get("License") or "").strip().splitlines()
    licence = metadata.get("License-Expression") or " / ".join(text.removeprefix(_CLASSIFIER) for text in classifiers)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Component(metadata["Name"], metadata["Version"], licence or (written[0] if written else ""), digest)


def sbom(found: Sequence[Component]) -> dict[str, Any]:
    """Return the SBOM as CycloneDX 1.6 has it (https://cyclonedx.org/docs/1.6/json/)."""
    ours = "commeazy-monitoring"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": ours, "version": __version__, "bom-ref": ours}},
        "components": [
            {
                "type": "library",
                "bom-ref": f"pkg:pypi/{canonicalize_name(one.name)}@{one.version}",
                "name": one.name,
                "version": one.version,
                "purl": f"pkg:pypi/{canonicalize_name(one.name)}@{one.version}",
                "hashes": [{"alg": "SHA-256", "content": one.sha256}],
                **({"licenses": [{"license": {"name": one.licence}}]} if one.licence else {}),
            }
            for one in found
            if canonicalize_name(one.name) != ours
        ],
    }


def advisories(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the advisories of a file, a folder or a zip archive; raises OSError and ValueError for what is none."""
    if path.is_dir():
        for file in sorted(path.glob("*.json")):
            yield json.loads(file.read_bytes())
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield json.loads(archive.read(name))
    else:
        found = json.loads(path.read_bytes())
        yield from found if isinstance(found, list) else [found]


def affected(advisory: dict[str, Any], pinned: dict[str, str]) -> list[str]:
    """Return the pinned packages, each as name==version, that an advisory is about."""
    found = []
    for entry in [] if "withdrawn" in advisory else advisory.get("affected", []):
        package = entry.get("package", {})
        name = canonicalize_name(str(package.get("name", "")))
        version = pinned.get(name) if package.get("ecosystem") == "PyPI" else None
        if version and (
            version in entry.get("versions", []) or any(_in(range_, version) for range_ in entry.get("ranges", []))
        ):
            found.append(f"{name}=={version}")
    return found


def _in(range_: dict[str, Any], version: str) -> bool:
    """Tell whether a version lies in a range (OSV schema, affected[].ranges[].events)."""
    if range_.get("type") != "ECOSYSTEM":
        return False
    inside = False
    for event in range_.get("events", []):
        try:
            if "introduced" in event and (
                event["introduced"] == "0" or Version(version) >= Version(event["introduced"])
            ):
                inside = True
            if "fixed" in event and Version(version) >= Version(event["fixed"]):
                inside = False
            if "last_affected" in event and Version(version) > Version(event["last_affected"]):
                inside = False
        except InvalidVersion:
            continue
    return inside


def pinned(lock: Path = ROOT / "requirements.lock") -> dict[str, str]:
    """Return the versions of a lock file by package."""
    return {canonicalize_name(name): version for name, version in _PINNED.findall(lock.read_text(encoding="utf-8"))}


def _write(folder: Path) -> int:
    found = components(folder)
    if not found:
        sys.stderr.write(f"release: {folder} holds no wheel; run make dist\n")
        return 1
    (folder.parent / "sbom.cdx.json").write_text(json.dumps(sbom(found), indent=2) + "\n", encoding="utf-8")
    rows = "".join(f"| {one.name} | {one.version} | {one.licence or 'not said in its metadata'} |\n" for one in found)
    (folder.parent / "LICENCES.md").write_text(
        f"| package | version | licence |\n|---|---|---|\n{rows}", encoding="utf-8"
    )
    return 0


def _audit(path: Path | None) -> int:
    if path is None:
        sys.stderr.write(
            "audit: cannot say: no advisories here, and nothing is fetched. Get OSV's PyPI archive (all.zip) and run\n"
            "audit: make audit ADVISORIES=all.zip\n"
        )
        return _CANNOT_SAY
    packages, read, bad = pinned(), 0, 0
    try:
        for advisory in advisories(path):
            read += 1
            for package in affected(advisory, packages):
                bad += 1
                print(f"{package}: {advisory.get('id')}: {advisory.get('summary', '')}")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"audit: cannot say: {path}: {error}\n")
        return _CANNOT_SAY
    print(f"{len(packages)} pinned packages, {read} advisories read, {bad} apply")
    return 1 if bad or not read else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the commands; returns 0, 1 for a finding, 2 if it cannot be said."""
    parser = argparse.ArgumentParser(prog="release", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("sbom").add_argument("folder", type=Path)
    commands.add_parser("audit").add_argument("path", type=Path, nargs="?")
    args = parser.parse_args(argv)
    return _write(args.folder) if args.command == "sbom" else _audit(args.path)


if __name__ == "__main__":
    sys.exit(main())
