"""XMP packets (ISO 16684-1): tags as RDF, embedded in WAV, MP3 and MP4 files for programs that look for provenance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

_NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "musicgen": "urn:musicgen:provenance",
}
PROPERTIES = {
    "title": ("dc", "title"),
    "digitalsourcetype": ("Iptc4xmpExt", "DigitalSourceType"),
    "aisystemused": ("Iptc4xmpExt", "AISystemUsed"),
    "aisystemversionused": ("Iptc4xmpExt", "AISystemVersionUsed"),
    "aipromptinformation": ("Iptc4xmpExt", "AIPromptInformation"),
    "settingssha256": ("musicgen", "SettingsSHA256"),
}
"""Tag -> namespace and name of its property. IPTC Photo Metadata Standard 2025.1 has those of Iptc4xmpExt."""
MAX_PACKET = 1 << 20
"""Bytes of a packet that is read."""

_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
_END = '\n<?xpacket end="w"?>'
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold."""


def printable(text: str) -> str:
    """A text with spaces in place of the control characters that neither XML nor a tag can hold."""
    return _NO_XML.sub(" ", text)


def packet(tags: Mapping[str, str]) -> bytes:
    """The packet of the tags that have a property; b"" where none has."""
    for prefix, uri in _NAMESPACES.items():
        ElementTree.register_namespace(prefix, uri)
    meta = ElementTree.Element(_name("x", "xmpmeta"))
    description = ElementTree.SubElement(
        ElementTree.SubElement(meta, _name("rdf", "RDF")), _name("rdf", "Description"), {_name("rdf", "about"): ""}
    )
    for tag, (prefix, name) in PROPERTIES.items():
        if tag not in tags:
            continue
        element, text = ElementTree.SubElement(description, _name(prefix, name)), printable(tags[tag])
        if tag == "title":  # a text in alternative languages
            element = ElementTree.SubElement(ElementTree.SubElement(element, _name("rdf", "Alt")), _name("rdf", "li"))
            element.set("{http://www.w3.org/XML/1998/namespace}lang", "x-default")
        element.text = text
    if not len(description):
        return b""
    return f"{_BEGIN}{ElementTree.tostring(meta, encoding='unicode')}{_END}".encode()


def parse(data: bytes) -> dict[str, str]:
    """The tags of a packet, also of another program's; none where it is no packet."""
    text = data[:MAX_PACKET].rstrip(b"\0")
    if b"<!" in text:  # no packet has a document type, whose entities could grow without a bound
        return {}
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError):
        return {}
    found = {}
    for description in root.iter(_name("rdf", "Description")):
        for tag, (prefix, name) in PROPERTIES.items():
            value = description.get(_name(prefix, name))
            element = description.find(_name(prefix, name))
            if element is not None:
                value = "".join(element.itertext()).strip()
            if value:
                found[tag] = value
    return found


def _name(prefix: str, name: str) -> str:
    return f"{{{_NAMESPACES[prefix]}}}{name}"
