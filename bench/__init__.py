"""Benchmarks, run by `make bench`: each prints figures and ratios from one run, and judges nothing."""
