"""How work runs: one interface, several executors."""
