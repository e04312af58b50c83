"""Tests of the lab itself; the servers in them are small ones, so nothing has to be installed."""
