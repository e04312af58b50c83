"""The seven Grafana dashboards of Section 14 as code; `generate-dashboards` writes the JSON beside its source."""
