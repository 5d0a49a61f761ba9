"""Measurements beside autosync's peers, printed as ratios."""
