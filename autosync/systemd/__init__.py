"""What this process has to do with systemd: the journal, and the manager that started it."""
