"""``autosync bug-report``: gathers what helps to find a bug, without names, places, secrets."""
