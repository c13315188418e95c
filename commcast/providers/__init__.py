"""The providers' own SDKs behind connections that cannot hang, leak or repeat; and their records."""
