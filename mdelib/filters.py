"""Tables that a reader can filter without a kernel and without a script: radio buttons and style sheets alone.

Where a page drops style sheets, the whole table is there. Explained in notebooks/15_audit.ipynb.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence

import pandas as pd
from markupsafe import escape

__all__ = ["filter_table"]

STYLE = """#{name} {{ font-size: 0.9em; }}
#{name} > input {{ position: absolute; opacity: 0; pointer-events: none; }}
#{name} > label {{ display: inline-block; margin: 0.1em 0.2em; padding: 0.1em 0.6em; border: 1px solid #8888;
  border-radius: 1em; cursor: pointer; }}
#{name} > input:checked + label {{ background: #0072B2; color: #fff; }}
#{name} > input:focus-visible + label {{ outline: 2px solid #D55E00; }}
#{name} > .rows {{ max-height: 40em; overflow: auto; margin-top: 0.4em; }}
#{name} td, #{name} th {{ text-align: left; vertical-align: top; white-space: normal; padding: 0.2em 0.6em; }}
#{name} th {{ position: sticky; top: 0; background: #eee; color: #000; }}"""


def filter_table(frame: pd.DataFrame, name: str, filters: Mapping[str, Sequence[str]]) -> str:
    """A table with one row of buttons for each filter; a row is shown if it has the chosen label in all of them.

    Args:
        frame: (N rows) to show; every cell is escaped, but for `markupsafe.Markup`, which is escaped already;
            numbers that are not whole are shown with three decimals.
        name: of the table, letters, digits and dashes; unique on the page.
        filters: title of the filter -> the label of each row, (N,). Buttons stand in the order of first appearance.

    Returns:
        HTML that needs no script.

    Raises:
        ValueError: a name that cannot be used in a page, no filter, or a filter of another length than the table.

    Explained in notebooks/15_audit.ipynb.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name):
        raise ValueError(f"the name {name!r} cannot stand in a page: use letters, digits and dashes")
    if not filters:
        raise ValueError("a filter table without filters is a plain table: name at least one column to filter by")
    marks: list[list[str]] = [[] for _ in range(len(frame))]
    rules, buttons = [STYLE.format(name=name)], []
    for number, (title, labels) in enumerate(filters.items()):
        if len(labels) != len(frame):
            raise ValueError(f"the filter {title!r} has {len(labels)} labels for {len(frame)} rows: one a row is "
                             "needed")
        choices = list(dict.fromkeys(labels))
        for mark, label in zip(marks, labels, strict=True):
            mark.append(f"f{number}-{choices.index(label)}")
        every = _button(name, number, "all", f"all ({len(frame)})", checked=True)
        buttons.append(f"<b>{html.escape(title)}</b> {every}")
        for index, choice in enumerate(choices):
            count = list(labels).count(choice)
            buttons.append(_button(name, number, str(index), f"{choice} ({count})"))
            hidden = f"tbody tr:not(.f{number}-{index})"
            rules.append(f"#{name}-{number}-{index}:checked ~ .rows {hidden} {{ display: none; }}")
        buttons.append("<br>")
    head = "".join(f"<th>{html.escape(str(column))}</th>" for column in frame.columns)
    rows = [f'<tr class="{" ".join(mark)}">' + "".join(f"<td>{_shown(cell)}</td>" for cell in row) + "</tr>"
            for mark, row in zip(marks, frame.itertuples(index=False), strict=True)]
    return "\n".join([f'<div id="{name}">', "<style>", *rules, "</style>", *buttons, '<div class="rows"><table>',
                      f"<thead><tr>{head}</tr></thead>", "<tbody>", *rows, "</tbody></table></div>", "</div>"])


def _shown(cell: object) -> str:
    """A cell as text, escaped; numbers that are not whole with three decimals."""
    return escape(f"{cell:.3f}" if isinstance(cell, float) else cell)


def _button(name: str, number: int, value: str, text: str, *, checked: bool = False) -> str:
    """One radio button; those of a filter exclude each other."""
    own = f"{name}-{number}-{value}"
    return (f'<input type="radio" name="{name}-{number}" id="{own}"{" checked" if checked else ""}>'
            f'<label for="{own}">{html.escape(text)}</label>')
