"""Tests of the alerts: rules, thresholds, configuration, and the queries against reality."""
