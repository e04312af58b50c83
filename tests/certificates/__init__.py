"""Tests of the certificate exporter without real servers."""
