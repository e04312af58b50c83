"""What people attest: kept, replaced, grown stale, never shown as good when it cannot be known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from check.__main__ import main
from check.attestations import Attestation, AttestationError, attest, load
from check.checklist_command import exported
from check.client import HttpClient
from check.items import checklist
from check.judging import Sources, judge
from check.probes import Probed
from check.prometheus import PrometheusApi

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

I4 = checklist().items["I4"]
NOW = 1_800_000_000.0
_DAY = 86400


def _status(words: Mapping[str, Attestation] | str) -> tuple[str, str]:
    nowhere = PrometheusApi(HttpClient("http://127.0.0.1:1"))
    (found,) = judge([I4], Sources(nowhere, {}, words, NOW))
    return found.status, found.detail


def test_an_attestation_is_yours_until_its_time_is_over_and_then_stale() -> None:
    assert I4.attest == 180 * _DAY
    fresh = Attestation("Bert", int(NOW - 180 * _DAY + 1), "21 s")
    assert _status({"I4": fresh}) == ("YOURS", f"Bert, {fresh.date}, 21 s")
    status, detail = _status({"I4": Attestation("Bert", int(NOW - 180 * _DAY))})
    assert status == "STALE"
    assert "180 days ago, worth 180." in detail


def test_what_nobody_attested_or_cannot_be_read_or_is_in_the_future_is_unknown() -> None:
    assert _status({})[0] == "UNKNOWN"
    assert _status("file: is not what --attest wrote") == ("UNKNOWN", "file: is not what --attest wrote")
    assert _status({"I4": Attestation("Bert", int(NOW + 3600))})[0] == "UNKNOWN"
    assert _status({"I4": Attestation("Bert", int(NOW + 60))})[0] == "YOURS", "a clock may be a little wrong"


def test_the_command_keeps_the_last_word_of_each_item(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "attestations.json"
    common = ["--attestations", str(file)]
    assert main(["--attest", "I4", "--by", "Bert", "--note", "first", *common]) == 0
    assert main(["--attest", "I5", "--by", "Anna", *common]) == 0
    assert main(["--attest", "I4", "--by", "Carla", *common]) == 0
    assert {item: (word.by, word.note) for item, word in load(file).items()} == {
        "I4": ("Carla", ""),
        "I5": ("Anna", ""),
    }
    assert capsys.readouterr().out.splitlines()[0] == (
        "I4 The failover procedure was tested as written: attested by Bert, worth 180 days"
    )
    assert [path.name for path in file.parent.iterdir() if path.suffix == ".json"] == [file.name]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--attest", "A1", "--by", "Bert"], "A1 is judged by a machine"),
        (["--attest", "Z9", "--by", "Bert"], "no item 'Z9'"),
        (["--attest", "I4"], "needs --by NAME"),
        (["--attest", "I4", "--by", "   "], "must be the name"),
        (["--attest", "I4", "--by", "two\nlines"], "--by: must be one printable line"),
        (["--attest", "I4", "--by", "x" * 101], "at most 100 characters"),
        (["--attest", "I4", "--by", "Bert", "--note", "x" * 501], "--note: must be one printable line of at most 500"),
        (["--checklist", "--section", "K"], "are no sections"),
        (["--checklist", "--logs"], "give one of them"),
        (["--by", "Bert"], "--by goes with --attest"),
        (["--checklist", "--section", "A", "--textfile", "a.prom"], "needs all sections"),
        (["--checklist", "--textfile", "a.txt"], "must end in .prom"),
        (["--host-facts", "--textfile", "/nowhere/a.prom"], "cannot be written"),
        (["--checklist", "--site", "/nowhere/site.yml"], "/nowhere/site.yml: "),
        (["--logs", "/nowhere/a.log"], None),
    ],
)
def test_wrong_usage_is_one_line_and_2(
    arguments: list[str], why: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "attestations.json"
    try:
        code = main([*arguments, "--attestations", str(file), "--prometheus", "http://127.0.0.1:1"])
    except SystemExit as ended:
        code = int(ended.code or 0)
    said = capsys.readouterr()
    assert not file.exists()
    if why is None:
        assert (code, said.out) == (
            1,
            "UNKNOWN /nowhere/a.log: cannot be read: No such file or directory; run this as root\n",
        )
        return
    assert code == 2
    assert why in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[1]",
        "{}x",
        "[" * 100_000,
        '{"I4": null}',
        '{"I4": {"by": "a"}}',
        '{"I4": {"by": 1, "at": "2026-01-01T00:00:00+00:00"}}',
        '{"I4": {"by": "a", "at": "2026-01-01T00:00:00"}}',
        '{"I4": {"by": "a\\u0007", "at": "2026-01-01T00:00:00+00:00"}}',
        '{"I4": {"by": " ", "at": "2026-01-01T00:00:00+00:00"}}',
        '{"I4": {"by": "a", "at": "0001-01-01T00:00:00+14:00"}}',
    ],
)
def test_a_file_that_is_not_ours_is_one_line(content: str, tmp_path: Path) -> None:
    file = tmp_path / "attestations.json"
    file.write_text(content)
    with pytest.raises(AttestationError, match="is not what --attest wrote"):
        load(file)


def test_two_people_at_the_same_moment_are_both_kept(tmp_path: Path) -> None:
    file = tmp_path / "attestations.json"
    items = [f"H{number}" for number in range(30)]
    threads = [threading.Thread(target=attest, args=(file, item, Attestation("Bert", 1))) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(load(file)) == set(items)


def test_what_is_exported_has_no_name_and_no_unknown() -> None:
    ran = {"ports": Probed("ok"), "stores": Probed("FAIL", "x"), "dns_ttl": Probed("UNKNOWN", "y")}
    words = {"I4": Attestation("Bert", int(NOW) - 5), "I5": Attestation("Bert", int(NOW) + 3600)}
    lines = [line for line in exported(ran, words, NOW).splitlines() if not line.startswith("#")]
    assert lines == [
        "checklist_run_timestamp_seconds 1800000000",
        'checklist_probe_ok{id="A6"} 1',
        'checklist_probe_ok{id="J2"} 0',
        'checklist_attested_timestamp_seconds{id="I4"} 1799999995',
    ]


def test_without_prometheus_every_scraped_item_is_unknown_and_the_lines_are_68(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "attestations.json"
    for item in checklist().items.values():
        if item.attest:
            attest(file, item.id, Attestation("Bert", int(time.time())))
    code = main(["--checklist", "--prometheus", "http://127.0.0.1:1", "--attestations", str(file)])
    lines = capsys.readouterr().out.splitlines()
    words = [line.split()[0] for line in lines]
    assert code == 1
    assert len(lines) == 68
    assert set(words) == {"UNKNOWN", "YOURS"}
    assert words.count("YOURS") == 21


@pytest.mark.parametrize(
    ("arguments", "encoding", "said"),
    [
        (["--checklist", "--format=html"], "utf-8", "Żółć, "),
        (["--checklist", "--format=json"], "utf-8", "Żółć, "),
        (["--checklist"], "latin-1", r"\u017bó\u0142\u0107, "),
        (["--attest", "I5", "--by", "Żółć"], "latin-1", r"attested by \u017bó\u0142\u0107"),
    ],
)
def test_a_terminal_without_the_letters_of_a_name_stops_nothing(
    arguments: list[str], encoding: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "attestations.json"
    attest(file, "I4", Attestation("Żółć", int(time.time())))
    done = subprocess.run(
        [sys.executable, "-m", "check", *arguments, "--prometheus", "http://127.0.0.1:1", "--attestations", str(file)],
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )
    assert done.stderr == b""
    assert said in done.stdout.decode(encoding)


def test_the_json_says_the_same_as_the_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "attestations.json"
    main(
        [
            "--checklist",
            "--section",
            "i,J",
            "--format=json",
            "--prometheus",
            "http://127.0.0.1:1",
            "--attestations",
            str(file),
        ]
    )
    page = json.loads(capsys.readouterr().out)
    assert [each["id"] for each in page["items"]] == [*(f"I{n}" for n in range(1, 6)), *(f"J{n}" for n in range(1, 6))]
    assert page["summary"]["UNKNOWN"] == 10
