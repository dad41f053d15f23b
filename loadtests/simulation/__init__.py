"""Deterministic simulation: seeded histories of the real lanes, relays and bank desk, with faults at every point, on a clock of their own."""
