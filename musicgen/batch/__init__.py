"""Generation of many clips: a file of prompts -> a samples folder."""

from musicgen.batch.clip import BatchClip
from musicgen.batch.prompts_file import Fault, read
from musicgen.batch.runner import BatchReport, generate

__all__ = ["BatchClip", "BatchReport", "Fault", "generate", "read"]
