"""Names to classes, imported only when chosen."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from robowm.errors import UserError, unknown


class Registry(Mapping[str, Any]):
    """A read-only mapping from a name to the object at ``"package.module:attribute"``.

    The module is imported on first access, so that an optional dependency costs nothing until its
    owner is chosen. Adding an entry is one line in the ``__init__`` of the room that owns it.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]):
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Any:
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries)
        module, _, attribute = self._entries[name].partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise UserError(
                f"{self.kind} {name!r} needs the package {error.name!r}, which is not installed: "
                f"install it with `pip install {error.name}`."
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
