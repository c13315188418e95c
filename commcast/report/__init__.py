"""Report: what was promised and kept, as figures, text, JSON and pages."""
