"""Alerts as data: the thresholds, the catalogue of alerts, and what turns both into Prometheus' rule files."""
