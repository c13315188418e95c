"""Named steps from older tables to today's; run once each and recorded in the ledger."""
