"""The command line tools of librabbitmq (C)."""
