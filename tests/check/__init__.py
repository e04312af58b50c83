"""Tests of the package check."""
