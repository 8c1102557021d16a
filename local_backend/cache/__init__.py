"""The KV cache: block accounting in plain Python, and the tensors behind it."""
