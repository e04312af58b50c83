"""What the reader takes from coturn's own endpoint, which Debian's coturn does not have."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from exporters.coturn.__main__ import main
from exporters.coturn.bindings import WithoutProbes
from exporters.coturn.config import load
from exporters.coturn.process import Turnserver
from exporters.coturn.reader import Reader
from exporters.coturn.snapshot import Snapshot
from tests.exporters.coturn.fakes import FakeTurn, page
from tests.exporters.coturn.test_endpoint import RECORDED
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_probes_bindings_are_left_out_of_a_count_that_has_them() -> None:
    bindings = WithoutProbes()
    assert bindings.count(41, own=10) == 0, "how many of those before were ours is not known"
    assert bindings.count(51, own=13) == 7
    assert bindings.count(52, own=14) == 7
    assert bindings.count(4, own=14) == 11, "coturn was started again"
    assert bindings.count(4, own=14) == 11


def test_a_count_that_lags_behind_the_probe_neither_falls_nor_gains() -> None:
    bindings = WithoutProbes()
    bindings.count(0, own=0)
    assert bindings.count(5, own=3) == 2
    assert bindings.count(5, own=6) == 2, "ours are not in it yet"
    assert bindings.count(8, own=6) == 2
    assert bindings.count(10, own=6) == 4


async def test_the_endpoint_counts_allocations_where_there_is_nothing_else(tmp_path: Path) -> None:
    fake = FakeTurn("secret")
    async with page(RECORDED) as url, fake.listening() as port:
        config = tmp_path / "turnserver.conf"
        endpoint_port = url.rpartition(":")[2].removesuffix("/metrics")
        config.write_text(
            f"listening-port={port}\nno-tcp\nuse-auth-secret\nstatic-auth-secret=secret\n"
            f"prometheus\nprometheus-port={endpoint_port}\n"
        )
        reader = Reader(load(config), Turnserver(config), probe_interval=60)
        snapshot = await reader.read()
        assert snapshot.active == {"endpoint": 5}
        assert snapshot.best == 5
        assert snapshot.bindings == (0, "endpoint")
        assert snapshot.sources == {"relay_ports": False, "endpoint": True}
        assert snapshot.passed_through[0].name == "stun_binding_request"


async def test_nobody_there_is_reported_with_what_to_do(tmp_path: Path) -> None:
    config = tmp_path / "turnserver.conf"
    config.write_text("listening-port=1\nno-tcp\nuse-auth-secret\nstatic-auth-secret=secret\n")
    with pytest.raises(TargetError, match="start coturn") as told:
        await Reader(load(config), Turnserver(config), probe_interval=60).read()
    assert told.value.reason == "not_running"
    assert isinstance(told.value.snapshot, Snapshot), "what is known without coturn is still on the page"
    assert told.value.snapshot.relay_ports_capacity == 16384


def test_a_configuration_that_cannot_be_read_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.conf"
    assert main([f"--coturn.config={missing}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cannot read" in said
    missing.write_text("cli-password=$5$ab$cd")
    for password, complaint in ((tmp_path / "none", "No such file"), (tmp_path / "binary", "is not text")):
        (tmp_path / "binary").write_bytes(b"\xff")
        assert main([f"--coturn.config={missing}", f"--coturn.cli-password-file={password}"]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert complaint in said
    missing.write_text("max-port=70000")
    assert main([f"--coturn.config={missing}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "max-port=70000 is no port" in said
    with contextlib.suppress(SystemExit):
        main(["--coturn.probe-interval=0"])
    assert "is not a number of seconds above 0" in capsys.readouterr().err
