"""Tests of the synthetic-user exporter that need no server."""
