"""What the row of a node that does not answer says: the table's own queries, by promtool."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.dashboards.answers import gives, query
from tests.dashboards.model import DATA_PANELS, Panel
from tests.live.tile_series import PARTLY_DOWN, last_words

if TYPE_CHECKING:
    from pathlib import Path

TABLES = [p for p in DATA_PANELS if p.json["type"] == "table" and p.json["targets"][0]["legendFormat"] == "state"]
OF_ANOTHER = {  # columns whose numbers come from what still answers beside a node that does not
    ("push-gateway-health", "pushed"),  # Prosody's count of what it gave to the gateway beside it
    ("prosody-overview", "memory"),  # the exporter's view of a process that hangs
    ("prosody-overview", "CPU"),
}


@pytest.mark.parametrize("panel", TABLES, ids=lambda panel: panel.name)
def test_a_table_keeps_the_row_and_every_cell_of_a_node_that_is_down_and_shows_no_number_of_it(
    panel: Panel, tmp_path: Path
) -> None:
    state, *cells = panel.json["targets"]
    (job,) = set(re.findall(r'job="([\w-]+)"', state["expr"]))
    series = {name: values for name, values in PARTLY_DOWN[job].items() if "instance=" in name}
    up, down = sorted({name.split('instance="')[1].split('"')[0] for name in series})
    expected = {state["expr"]: {f'{{instance="{up}"}}': 1.0, f'{{instance="{down}"}}': 0.0}}
    for cell in cells:
        rows = f"count by (instance) ({cell['expr']})"
        expected[rows] = {f'{{instance="{node}"}}': 1.0 for node in (up, down)}
        if (panel.uid, cell["legendFormat"]) not in OF_ANOTHER:
            known = f'count(({cell["expr"]}) == ({cell["expr"]}) and on (instance) up{{instance="{down}"}})'
            expected[known] = {}
    gives({**series, **last_words(series, down)}, tmp_path, expected)


def test_the_row_of_a_prosody_that_hangs_has_the_memory_and_cpu_of_its_process(tmp_path: Path) -> None:
    hangs = {
        'up{job="prosody",instance="prosody1"}': "1x40",
        'prosody_up{job="prosody",instance="prosody1"}': "0x40",
        'prosody_memory_used_bytes{job="prosody",instance="prosody1"}': "9000000x40",
        'prosody_cpu_seconds_total{job="prosody",instance="prosody1"}': "0+15x40",
    }
    cells = {heading: query("prosody-overview", "table", "Nodes", heading) for heading in ("memory", "CPU", "state")}
    row = '{instance="prosody1"}'
    gives(
        hangs,
        tmp_path,
        {cells["memory"]: {row: 9_000_000}, cells["CPU"]: {row: 1}, cells["state"]: {row: 0}},
        at="8m",
    )
