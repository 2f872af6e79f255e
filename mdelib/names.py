"""A name that somebody typed: known, or a sentence that says what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection

__all__ = ["check_name"]


def check_name(name: str, known: Collection[str], what: str, where: str) -> str:
    """Return `name` if it is one of `known`.

    Raises:
        ValueError: it is not; the nearest and all known ones are named.
    """
    if name in known:
        return name
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ValueError(f"{what} {name!r} is not in {where}{hint}: expected one of {', '.join(map(str, known))}")
