"""Benchmarks of lm-eval that are not in the table."""
