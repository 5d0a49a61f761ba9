"""What a working copy was: its snapshots found, compared and brought back."""
