"""Tests of the coturn exporter that need no coturn."""
