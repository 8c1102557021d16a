"""What runs in the next step; policy in, data out, no tensors."""
