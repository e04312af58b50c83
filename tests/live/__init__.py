"""Tests against real servers, which the lab starts."""
