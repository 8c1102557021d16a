"""How the embedded engine can be run, by its own names; a test holds them to local_backend.config."""

from __future__ import annotations

from typing import Literal

__all__ = ["CacheDtype", "Quantization", "Speculation"]

Quantization = Literal["auto", "none", "int8", "int4"]
CacheDtype = Literal["auto", "float32", "bfloat16", "int8", "int6"]
Speculation = Literal["auto", "off", "prompt-lookup", "mtp"]
