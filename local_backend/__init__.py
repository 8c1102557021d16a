"""The embedded engine: DeepSeek and kin on this machine, behind the hosted dialect. Runs alone."""
