"""Many requests from a file: OpenAI's batch format in and out, resumed after any interruption.

from deepseek_apps.batch import run_batch

summary = await run_batch("in.jsonl", "out.jsonl")
"""

from deepseek_apps.batch.batch import run_batch
from deepseek_apps.batch.errors import BatchIncompleteError, BatchInputError, BatchOutputError
from deepseek_apps.batch.options import BatchOptions
from deepseek_apps.batch.progress import BatchProgress
from deepseek_apps.batch.results import BatchResults
from deepseek_apps.batch.run import BatchRun
from deepseek_apps.batch.source import BatchSource, read_source

__all__ = [
    "BatchIncompleteError",
    "BatchInputError",
    "BatchOptions",
    "BatchOutputError",
    "BatchProgress",
    "BatchResults",
    "BatchRun",
    "BatchSource",
    "read_source",
    "run_batch",
]
