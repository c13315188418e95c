"""The ledger: what was released, due, tried and answered. Its tables are in tables.py."""
