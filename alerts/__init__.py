"""Alerts as data: the thresholds, the catalogue of alerts, and the generator of Prometheus' rule files."""
