"""The pure core: events, facts, rules, decisions, orders, accounts, ledger. No I/O, clock, randomness, SQL or Kafka."""
