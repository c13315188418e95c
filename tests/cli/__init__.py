"""The commands as a person or cron runs them."""
