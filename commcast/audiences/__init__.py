"""Who is told: recipient lists, streamed and checked, and the addresses in them."""
