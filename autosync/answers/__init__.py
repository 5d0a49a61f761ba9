"""What the command line is answered by the running agent."""
