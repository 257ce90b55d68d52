"""Untrusted text, marked so that it is not used as a path where a value may be a text or a path."""

from __future__ import annotations


class UntrustedText(str):
    """A text out of a file that may be a stranger's. It is never taken for a path: what it names is not opened.

    It equals the same text as a plain `str`. A conditioner receives it only if it never reads a text as a path
    (`Conditioner.from_text`); `conditioners.prepared.prepared_input` sees to that.
    """

    __slots__ = ()
