"""Faults for real: workers on three brokers and a PostgreSQL, each fault made, proven to have happened, and what came of it held to the undisturbed run."""
