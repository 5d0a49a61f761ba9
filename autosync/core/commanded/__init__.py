"""What is decided for working copies that are kept by commands."""
