"""Seeded toy checkpoints of every model family: tiny, random, complete, for tests and experiments.

They have every part that the real ones have, in the published names and layouts, with a byte-level tokenizer:

    from local_backend.local_engine import LocalEngine
    from local_backend.testing import write_toy_folder

    engine = LocalEngine.load(write_toy_folder(Path("toy"), "deepseek_v3"))

Needs the `local` extra and nothing else. The answers are noise; the numbers are exact.
"""

from local_backend.testing.configs import TOY_FAMILIES, toy_config
from local_backend.testing.folder import write_toy_folder, write_toy_tokenizer
from local_backend.testing.gguf_file import write_toy_gguf
from local_backend.testing.tensors import toy_foreseeing_tensors, toy_mtp_tensors, toy_tensors
from local_backend.testing.vocabulary import toy_vocabulary

__all__ = [
    "TOY_FAMILIES",
    "toy_config",
    "toy_foreseeing_tensors",
    "toy_mtp_tensors",
    "toy_tensors",
    "toy_vocabulary",
    "write_toy_folder",
    "write_toy_gguf",
    "write_toy_tokenizer",
]
