"""git working copies: snapshots, base moves and exchange by way of the git command line."""
