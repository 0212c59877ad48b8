"""The one error of this package that a user is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EnvError(ValueError):
    """Bad input, said in one sentence: what is wrong, what was expected, what to do.

    Entry points print the message alone and leave with :attr:`exit_code`.
    """

    exit_code = 2


def unknown(kind: str, name: object, known: Iterable[str]) -> EnvError:
    """The error for a name that no registry holds: names the near ones, then all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return EnvError(f"unknown {kind} {name!r}: {hint}choose one of {', '.join(known)}.")
