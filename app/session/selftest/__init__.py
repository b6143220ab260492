"""Self-test of the load generator: each part is checked against a known truth."""
