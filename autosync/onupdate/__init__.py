"""Runs the user's program after changes of others were brought in."""
