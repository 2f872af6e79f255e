"""The findings at the top of the README are read from the results, and left out where there are none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mdelib import audit, highlights, references
from mdelib.store import Result

HOME = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", autouse=True)
def audited() -> Iterator[None]:
    """The audit is made once."""
    found = audit.audit_all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "audit_all", lambda: found)
        yield


def test_each_finding_is_a_sentence_with_numbers_and_a_notebook() -> None:
    found = highlights.highlights()
    assert len(found) >= 5
    for line in found:
        name, = re.findall(r"\]\((notebooks/\d\d_\w+\.ipynb)\)\)$", line)
        assert (HOME / name).is_file() and line.startswith("**") and re.search(r"\d", line)
        assert "nan" not in line and not re.search(r"\d\.\d{4}", line)


def test_without_results_only_the_audit_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "stored_reference", lambda *_: [])
    line, = highlights.highlights()
    assert audit.audit_line(audit.audit_all()) in line


def test_what_the_results_say_is_what_stands_there(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = references.stored_reference

    def turned(*address: str) -> list[Result]:
        return [replace(run, metrics={name: -2 * value for name, value in run.metrics.items()},
                        per_image={name: [None if v is None else -2 * v for v in values]
                                   for name, values in run.per_image.items()}) for run in stored(*address)]

    before = highlights.highlights()
    monkeypatch.setattr(references, "stored_reference", turned)
    assert all((one == other) is ("audited" in one) for one, other in
               zip(before, highlights.highlights(), strict=True))


def test_the_range_over_protocols_leaves_out_those_that_fit_the_scale() -> None:
    line = next(line for line in highlights.highlights() if "METER-XXS" in line)
    runs = references.stored_reference("protocols", "nyu", "study")
    rmse = {run.parameters["protocol"]: run.metrics["rmse"] for run in runs}
    lowest, highest = (float(word) for word in re.findall(r"\d\.\d\d", line))
    assert rmse["affine_nyu"] < lowest - 0.05
    assert highest == pytest.approx(max(rmse.values()), abs=0.005) and lowest > min(rmse.values())
    assert np.isclose(lowest, sorted(rmse.values())[1], atol=0.005)
