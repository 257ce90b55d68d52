"""Audio by random tokens: each is good for one rater, one page and one stimulus, and looked up in the database."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
            return _in_parts(*file_padding.pad_mp3(stored(file), length), "audio/mpeg")
        return _in_parts(*file_padding.pad_flac(stored(file), length), "audio/flac")




