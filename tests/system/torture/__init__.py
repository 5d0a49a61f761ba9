"""Users at work on three devices while everything around them breaks; :mod:`tests.system.torture.run` is the way in."""
