"""Measures commcast against its peers on loopback; `python -m benchmarks --help`."""
