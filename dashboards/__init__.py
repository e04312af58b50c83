"""The seven Grafana dashboards of Section 14, and the promises, as code; `generate-dashboards` writes the JSON."""
