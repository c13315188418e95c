"""Decides what is owed now, to whom and why: pure functions that know no clock, no disk and no network."""
