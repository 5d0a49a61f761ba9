"""What runs inside hg's own process: imports only the standard library and Mercurial."""
