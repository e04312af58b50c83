"""The Grafana dashboards as code: Section 14's seven, promises and hosts; `generate-dashboards` writes the JSON."""
