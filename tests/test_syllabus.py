"""`mdelib.syllabus`: the plan of the course links only to what is there."""

from __future__ import annotations

import re
from pathlib import Path

from mdelib.editions import list_sources
from mdelib.syllabus import SYLLABUS, course_map


def test_seventeen_notebooks_in_order() -> None:
    assert list(SYLLABUS) == [f"{number:02d}" for number in range(17)]


def test_only_notebooks_that_are_here_are_links() -> None:
    text = course_map([Path("src/00_start_here.py"), Path("src/03_depth_selectivity.py")])
    assert re.findall(r"\]\((.*?)\)", text) == ["03_depth_selectivity.ipynb"]
    rows = text.splitlines()[2:]
    assert len(rows) == len(SYLLABUS)
    assert rows[0].endswith("| you are here |") and rows[3].endswith("|  |") and rows[4].endswith("| planned |")


def test_every_source_is_in_the_plan() -> None:
    assert {path.name[:2] for path in list_sources()} <= set(SYLLABUS)
    assert all(f"({path.stem}.ipynb)" in course_map() for path in list_sources() if path.name[:2] != "00")
