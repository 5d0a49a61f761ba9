"""Version control systems, one module or package each."""
