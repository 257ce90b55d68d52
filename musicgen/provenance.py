"""Machine-readable tags about a file's origin: that a model generated it, which model, and from which settings.

The EU's AI Act requires such a mark (Regulation (EU) 2024/1689, article 50 (2)). The terms are IPTC's: `digitalsourcetype` is
trainedAlgorithmicMedia for the output of a trained model. The tags are derived from the settings in a clip's comment, and
written together with it. docs/formats.md lists the fields of each format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from musicgen import xmp

TRAINED_ALGORITHMIC_MEDIA = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""Of the controlled vocabulary https://cv.iptc.org/newscodes/digitalsourcetype/."""
SETTINGS_KEY = "musicgen"
"""The comment is {SETTINGS_KEY: {...}}."""
NAMES = ("title", "digitalsourcetype", "aisystemused", "aisystemversionused", "aipromptinformation", "settingssha256")
"""The tags that say it, beside the comment."""


def settings_sha256(settings: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of settings as JSON in ASCII with sorted keys and no spaces."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def system_tags(system: str, prompt: str | None, version: str | None = None) -> dict[str, str]:
    """The tags of a clip that a model made.

    Args:
        system: name of the model.
        prompt: the description; None or "" for none.
        version: of the program that ran the model; None where it is unknown.
    """
    tags = {"digitalsourcetype": TRAINED_ALGORITHMIC_MEDIA, "aisystemused": xmp.printable(system)}
    if prompt:
        tags |= dict.fromkeys(("title", "aipromptinformation"), xmp.printable(prompt))
    if version is not None:
        tags["aisystemversionused"] = version
    return tags


def tags(comment: str) -> dict[str, str]:
    """The tags of a clip, its comment among them.

    Args:
        comment: as `musicgen.settings.Settings.comment` returns it.
    """
    settings = json.loads(comment)[SETTINGS_KEY]
    named = system_tags(f"MusicGen {settings['model']}", settings["prompt"], f"musicgen {settings['version']}")
    return named | {"settingssha256": settings_sha256(settings), "comment": comment}


def of_tags(found: Mapping[str, str]) -> dict[str, str]:
    """Those of a file's tags that a converted file keeps: what says where it is from, and its settings."""
    return {name: found[name] for name in (*NAMES, "comment") if name in found}
