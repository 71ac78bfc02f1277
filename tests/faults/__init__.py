"""Chaos: real workers and a real server, killed and stopped while jobs run, and a ledger of what became of them."""
