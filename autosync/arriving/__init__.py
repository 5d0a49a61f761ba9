"""What comes from peers, and goes on where it was cut."""
