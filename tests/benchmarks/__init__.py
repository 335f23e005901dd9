"""Benchmarks, started with `make bench` or `python -m tests.benchmarks`."""
