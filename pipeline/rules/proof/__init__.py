"""Proofs about a compiled rule: what holds of everybody whom it decides, and the people who show that it does not."""
