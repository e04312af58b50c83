"""Asks Prometheus and Grafana whether the monitoring is whole: Section 20 G, as the command commeazy-check."""
