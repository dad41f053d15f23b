"""The bank's messages in ISO 20022: orders out, answers in, and the bank's own side of both. Bytes only; no files, no clock."""
