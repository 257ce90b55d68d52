"""Many clips from a list: a file of prompts in, a samples folder out."""

from musicgen.batch.clip import BatchClip
from musicgen.batch.prompts_file import Fault, read
from musicgen.batch.runner import BatchReport, generate

__all__ = ["BatchClip", "BatchReport", "Fault", "generate", "read"]
