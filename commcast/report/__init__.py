"""Report: what was promised and kept, from plain facts to figures, words and pages."""
