"""Decides what is due now, to whom and why: pure functions without a clock, a disk or a network."""
