"""OmegaConf configurations inside pickles, read as plain values. OmegaConf is not needed, and none of its code runs.

A configuration is pickled as a tree of nodes, each with its value or its children under `_content` or `_val`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any


class Node:
    """The stored state of an OmegaConf object in a pickle: its attributes."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


_NODES = (
    "AnyNode", "BooleanNode", "BytesNode", "EnumNode", "FloatNode", "IntegerNode", "PathNode", "StringNode",
)  # fmt: skip
CLASSES: dict[str, type] = {
    **{f"omegaconf.nodes.{name}": Node for name in _NODES},
    "omegaconf.dictconfig.DictConfig": Node,
    "omegaconf.listconfig.ListConfig": Node,
    "omegaconf.base.ContainerMetadata": Node,
    "omegaconf.base.Metadata": Node,
    # What the metadata say of types, which are not used.
    "typing.Any": Node,
    "collections.defaultdict": defaultdict,
    **{f"builtins.{kind.__name__}": kind for kind in (dict, list, int, float, str, bool)},
}
"""The names in such a pickle, for `safe_unpickle.read`."""


def plain(value: Any) -> Any:
    """The value of a node, with dicts, lists and plain values in place of nodes; what is no node is returned as it is.
    References to other values ("${sample_rate}") stay text."""
    if not isinstance(value, Node):
        return value
    content = value.attributes.get("_content", value.attributes.get("_val"))
    if isinstance(content, dict):
        return {plain(key): plain(one) for key, one in content.items()}
    if isinstance(content, list):
        return [plain(one) for one in content]
    return content
