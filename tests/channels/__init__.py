"""What every channel must do, and the servers that two of them speak to."""
