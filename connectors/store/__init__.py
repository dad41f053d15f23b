"""The store: PostgreSQL servers, their tables, and everything that is said in SQL."""
