"""What carries announcements, one module each."""
