"""What providers are asked, against stand-ins on this machine."""
