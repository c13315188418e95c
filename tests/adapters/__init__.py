"""Adapters, tried against real servers on this machine."""
