"""Everything outside: the log, the store (the only SQL), registry feeds, the bank and the stand-ins for them."""
