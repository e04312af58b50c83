"""What an operator copies for the dashboards."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lab.running.server import Workspace
from lab.running.workspace import ROOT
from lab.servers.grafana import HOW_TO_GET, Grafana, home, opened
from lab.servers.prometheus import Prometheus
from tests.dashboards.model import DASHBOARDS, FOLDER, all_panels

PROVISIONING = ROOT / "prometheus/grafana/provisioning"


def test_one_data_source_and_one_folder_are_provisioned() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources/commeazy.yaml").read_text())["datasources"]
    assert (source["type"], source["jsonData"]["timeInterval"]) == ("prometheus", "30s")
    assert not source["isDefault"], "beside another default data source Grafana would not start"
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards/commeazy.yaml").read_text())["providers"]
    assert (provider["folder"], provider["type"]) == ("CommEazy", "file")
    assert not provider["allowUiUpdates"]


def test_the_rate_interval_fits_the_slowest_job_whose_rates_are_shown() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources/commeazy.yaml").read_text())["datasources"]
    jobs = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    slowest = max(int(job["scrape_interval"].rstrip("s")) for job in jobs if job["scrape_interval"] != "1m")
    assert source["jsonData"]["timeInterval"] == f"{slowest}s"
    assert [job["job_name"] for job in jobs if job["scrape_interval"] == "1m"] == ["certificates"]  # gauges only


def test_grafana_in_the_lab_gets_our_directories_fitted_to_it(tmp_path: Path) -> None:
    with Workspace() as lab:
        prometheus = Prometheus(lab)
        grafana = Grafana(lab, tmp_path, prometheus)
        grafana.prepare()
        written = [yaml.safe_load(path.read_text()) for path in grafana.directory.rglob("*.yaml")]
        provisioned = {key: value for each in written for key, value in each.items()}
        assert provisioned["datasources"][0]["url"] == prometheus.url
        folder = Path(provisioned["providers"][0]["options"]["path"])
        shipped = {path.stem for path in FOLDER.glob("*.json")}
        assert {path.stem for path in folder.glob("*.json")} == shipped | {f"{uid}-all-rows" for uid in shipped}
        variables = grafana.environment()
        assert variables["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
        assert Path(variables["GF_PATHS_PROVISIONING"]).is_dir()


def test_grafana_is_found_where_the_variable_says_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("GRAFANA_HOME", raising=False)
    assert home() is None
    assert "GRAFANA_HOME" in HOW_TO_GET
    monkeypatch.setenv("GRAFANA_HOME", str(tmp_path))
    assert home() == tmp_path


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_a_dashboard_with_all_rows_open_has_every_panel_and_none_on_another(uid: str) -> None:
    model = opened(DASHBOARDS[uid])
    shown = [panel for panel in model["panels"] if not panel.get("panels")]
    assert sorted(panel["id"] for panel in shown) == sorted(panel.json["id"] for panel in all_panels(uid))
    taken: set[tuple[int, int]] = set()
    for panel in shown:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells, panel["title"]
        taken |= cells
