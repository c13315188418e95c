"""The ledger, tried against real files on this machine."""
