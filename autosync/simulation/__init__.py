"""Several devices on one seeded clock: shows that they end up equal and that nothing is lost."""
