"""Generation of many clips: a file of prompts -> a samples folder."""

from musicgen.batch.clip import BatchClip
from musicgen.batch.prompts_file import LineError, read
from musicgen.batch.runner import BatchReport, generate

__all__ = ["BatchClip", "BatchReport", "LineError", "generate", "read"]
