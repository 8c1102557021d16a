"""Recipe: an agent that writes programs, runs them in a sandbox, reads what failed, and repairs."""
