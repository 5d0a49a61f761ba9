"""Hostile input for every parser: the same targets for hypothesis, in CI, and for atheris, as long as one likes."""
