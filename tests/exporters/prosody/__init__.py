"""Tests of the Prosody exporter that need no Prosody."""
