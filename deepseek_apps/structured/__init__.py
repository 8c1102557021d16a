"""Structured output: ask for a schema, check the answer, mend it once."""

from deepseek_apps.structured.attempt import ChatStructuredOutputInvalidError
from deepseek_apps.structured.plan import Method
from deepseek_apps.structured.runnable import StructuredOutput, structured_output

__all__ = ["ChatStructuredOutputInvalidError", "Method", "StructuredOutput", "structured_output"]
