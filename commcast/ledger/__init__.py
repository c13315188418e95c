"""The ledger: what was released, owed, tried and answered. One file a duty; the tables are in schema.py."""
