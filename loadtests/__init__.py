"""Load tests: a population replayed, faults thrown in, figures printed with a verdict."""
