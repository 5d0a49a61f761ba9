"""Numbers for Prometheus: how they are written, and how they are served."""
