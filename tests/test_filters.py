"""Tables that filter themselves without a script."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from markupsafe import Markup

from mdelib.filters import filter_table

FRAME = pd.DataFrame({"paper": ["a", "b", "a"], "claim": ["<b>1</b>", "2 & 3", "4"], "n": [1, 2, 3]})
FILTERS = {"paper": ["a", "b", "a"], "verdict": ["holds", "holds", "fails"]}


class Page(HTMLParser):
    """What a browser would make of it: inputs, rows with their classes, and cells."""

    def __init__(self, text: str):
        super().__init__()
        self.inputs, self.rows, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "input":
            self.inputs.append(found)
        elif tag not in ("br",):
            self.open.append(tag)
        if tag == "tr" and "tbody" in self.open:
            self.rows.append(set(found["class"].split()))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} closes something else"


def shown(text: str, *chosen: str) -> list[int]:
    """Rows that stay when these buttons are pressed, by the page's own style sheet."""
    page = Page(text)
    hidden = set()
    for button in chosen:
        wanted = re.search(rf"#{button}:checked ~ \.rows tbody tr:not\(\.([\w-]+)\)", text)
        hidden |= {i for i, marks in enumerate(page.rows) if wanted and wanted[1] not in marks}
    return [i for i in range(len(page.rows)) if i not in hidden]


def test_buttons_hide_the_rows_that_have_another_label():
    text = filter_table(FRAME, "t", FILTERS)
    assert shown(text) == [0, 1, 2] == shown(text, "t-0-all", "t-1-all")
    assert shown(text, "t-0-0") == [0, 2] and shown(text, "t-0-1") == [1]
    assert shown(text, "t-0-0", "t-1-1") == [2] and shown(text, "t-0-1", "t-1-1") == []


def test_the_page_is_well_formed_escaped_and_without_script():
    text = filter_table(FRAME, "t", FILTERS)
    page = Page(text)
    assert page.open == [] and len(page.rows) == 3
    assert "&lt;b&gt;1&lt;/b&gt;" in text and "2 &amp; 3" in text and "<script" not in text
    assert "holds (2)" in text and "all (3)" in text


def test_every_filter_starts_with_all_and_excludes_within_itself():
    inputs = Page(filter_table(FRAME, "t", FILTERS)).inputs
    assert [found["id"] for found in inputs if "checked" in found] == ["t-0-all", "t-1-all"]
    assert {found["name"] for found in inputs} == {"t-0", "t-1"}
    assert len({found["id"] for found in inputs}) == len(inputs) == 6


@pytest.mark.parametrize(("name", "filters", "words"), [
    ("a b", FILTERS, "cannot stand"), ("", FILTERS, "cannot stand"), ("1t", FILTERS, "cannot stand"),
    ("t", {}, "plain table"), ("t", {"paper": ["a"]}, "1 labels for 3 rows"),
])
def test_what_cannot_be_filtered_is_refused(name, filters, words):
    with pytest.raises(ValueError, match=words):
        filter_table(FRAME, name, filters)


def test_an_empty_table_has_only_its_head():
    assert Page(filter_table(FRAME.head(0), "t", {"paper": []})).rows == []


def test_markup_is_taken_as_it_is_and_everything_else_escaped():
    frame = pd.DataFrame({"link": [Markup('<a href="{}">x</a>').format('"><script>'), "<a>"]})
    text = filter_table(frame, "t", {"k": ["1", "2"]})
    assert '<td><a href="&#34;&gt;&lt;script&gt;">x</a></td>' in text and "<td>&lt;a&gt;</td>" in text


def test_numbers_have_three_decimals_and_counts_none():
    text = filter_table(pd.DataFrame({"x": [0.37903817, 2.0], "n": [3, 4]}), "t", {"k": ["1", "2"]})
    assert "<td>0.379</td><td>3</td>" in text and "<td>2.000</td><td>4</td>" in text
