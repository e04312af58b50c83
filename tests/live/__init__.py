"""Tests against real servers; left out, and listed, where these are not installed."""
