"""From facts to words: template look-up, the sandbox they run in, the context they get, and SMS sizes."""
