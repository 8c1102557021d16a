"""Model wiring: which layers in which order. The arithmetic is in layers/ and kernels/."""
