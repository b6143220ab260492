"""Self-test of the load generator: each component is checked against a known reference value."""
