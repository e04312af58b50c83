"""Series of a service of which one part does not answer, and what promtool makes of a panel's query on series."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import yaml

from check.panels import ALL, filled_in

if TYPE_CHECKING:
    from pathlib import Path

# For each job, what there is when one of two does not answer. Numbers of the one that answers may be good.
PARTLY_DOWN: dict[str, dict[str, str]] = {
    "prosody": {
        'up{job="prosody",instance="prosody1"}': "1x8",
        'up{job="prosody",instance="prosody2"}': "1x8",
        'prosody_up{job="prosody",instance="prosody1"}': "1x8",
        'prosody_up{job="prosody",instance="prosody2"}': "0x8",
        'prosody_stanza_rate{job="prosody",instance="prosody1"}': "40x8",
        'prosody_presence_updates_total{job="prosody",instance="prosody1",type="available"}': "0+30x8",
        'instance:prosody_websocket_ping_seconds:p99{job="prosody",instance="prosody1"}': "0.001x8",
        'prosody_websocket_ping_seconds_count{job="prosody",instance="prosody1"}': "0+3x8",
        'prosody_websocket_login_mechanisms{job="prosody",instance="prosody1",host="a"}': "2x8",
        'prosody_push_wakeups_total{job="prosody",instance="prosody1",kind="call",result="woke"}': "0+3x8",
        'prosody_push_wakeups_total{job="prosody",instance="prosody1",kind="call",result="silent"}': "0x8",
    },
    "push-gateway": {
        'up{job="push-gateway",instance="prosody1"}': "1x8",
        'up{job="push-gateway",instance="prosody2"}': "0x8",
        'push_gateway_up{job="push-gateway",instance="prosody1"}': "1x8",
        'push_gateway_up{job="push-gateway",instance="prosody2"}': "0x8",
        'instance:push_voip_failed:ratio{job="push-gateway",instance="prosody1"}': "0x8",
        'instance:push_voip_failed:ratio{job="push-gateway",instance="prosody2"}': "0x8",
        'instance:push_fcm_failed:ratio{job="push-gateway",instance="prosody1"}': "0x8",
        'push_gateway_uptime_seconds{job="push-gateway",instance="prosody1"}': "100+15x8",
        'push_provider_state{job="push-gateway",instance="prosody1",handler="voip"}': "1x8",
        'push_gateway_memory_bytes{job="push-gateway",instance="prosody1"}': "9x8",
        'push_calls_failed_total{job="push-gateway",instance="prosody1",handler="voip"}': "0x8",
    },
    "postgresql": {
        'up{job="postgresql",instance="postgres1"}': "1x8",
        'up{job="postgresql",instance="postgres2"}': "0x8",  # its exporter is gone: there is no pg_up of it
        'pg_up{job="postgresql",instance="postgres1"}': "1x8",
        'pg_replication_lag_bytes{job="postgresql",instance="postgres1"}': "0x8",
    },
    "coturn": {
        'up{job="coturn",instance="coturn1"}': "1x8",
        'up{job="coturn",instance="coturn2"}': "1x8",
        'coturn_up{job="coturn",instance="coturn1"}': "1x8",
        'coturn_up{job="coturn",instance="coturn2"}': "0x8",
        'coturn_active_allocations{job="coturn",instance="coturn1"}': "3x8",
    },
    "node": {
        'up{job="node",instance="db1"}': "1x8",
        'up{job="node",instance="db2"}': "0x8",
        'instance_mountpoint:node_filesystem_free:ratio{job="node",instance="db1",mountpoint="/"}': "0.9x8",
        'node_memory_MemAvailable_bytes{job="node",instance="db1"}': "9x8",
        'node_memory_MemTotal_bytes{job="node",instance="db1"}': "10x8",
        'instance:node_cpu_used:ratio{job="node",instance="db1"}': "0.1x8",
        'node_systemd_unit_state{job="node",instance="db1",name="a.service",state="failed"}': "0x8",
    },
    "haproxy": {
        'up{job="haproxy",instance="haproxy1"}': "1x8",
        'up{job="haproxy",instance="haproxy2"}': "0x8",
        'haproxy_backend_up{job="haproxy",instance="haproxy1"}': "3x8",
    },
    "certificates": {
        'up{job="certificates",instance="m"}': "1x8",
        'ssl_certificate_probe_success{job="certificates",instance="m",target="wss"}': "1x8",
        'ssl_certificate_probe_success{job="certificates",instance="m",target="turn"}': "0x8",
        'ssl_certificate_trusted{job="certificates",instance="m",target="wss"}': "1x8",
        'ssl_certificate_expiry_days{job="certificates",instance="m",target="wss"}': "80x8",
    },
    "synthetic": {
        'up{job="synthetic",instance="m1"}': "1x8",
        'up{job="synthetic",instance="m2"}': "0x8",
        'slo:coverage:ratio{sloth_slo="login"}': "1x8",
        'slo:period_error_budget_remaining:ratio{sloth_slo="login"}': "1x8",
    },
}
# One of two exporters is gone, and all that the other one looks at is in order.
EXPORTER_GONE = {name: series.replace("0x8", "1x8") for name, series in PARTLY_DOWN["certificates"].items()} | {
    'up{job="certificates",instance="m2"}': "0x8"
}


def gives(series: dict[str, str], folder: Path, expected: dict[str, dict[str, float]], at: str = "2m") -> None:
    """Demand of promtool that each query gives these samples."""
    checks = [
        {
            "expr": filled_in(expr, {"node": ALL, "exporter": ALL}, "1m"),
            "eval_time": at,
            "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
        }
        for expr, samples in expected.items()
    ]
    case: dict[str, Any] = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": checks,
    }
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "15s", "tests": [case]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
