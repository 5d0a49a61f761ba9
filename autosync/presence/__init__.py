"""Tells the other devices which files are open in an editor here, and what they tell of theirs."""
