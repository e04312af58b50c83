"""The seven Grafana dashboards of Section 14 as code; `generate-dashboards` writes each one's JSON beside its source."""
