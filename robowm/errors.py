"""The one error that a user is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input, said in one sentence: what is wrong, what was expected, what to do.

    Entry points print the message alone and leave with :attr:`exit_code`. Any exception of
    another package that carries an ``exit_code`` is treated the same way.
    """

    exit_code = 2


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that no registry holds: names the near ones, then all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return UserError(f"unknown {kind} {name!r}: {hint}choose one of {', '.join(known)}.")
