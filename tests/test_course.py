"""What a notebook shows is kept with its provenance, and the report shows it with words under it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mdelib import course, figures
from mdelib.report import write_report
from mdelib.store import Result


@pytest.fixture
def lesson(tmp_path: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch) -> course.Lesson:
    monkeypatch.setenv("MDE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("MDE_SCALE", "smoke")
    return course.start("02", seed=3)


@pytest.fixture
def source() -> Result:
    return Result("toy", "a", "scenes-rooms", "smoke", 0, "0123456789abcdef", {}, {"rmse": 1.0},
                  provenance={"commit": "abc123", "made": "2026-01-01", "device": "cpu"})


def test_the_environment_decides_the_scale(lesson):
    assert lesson.scale == "smoke" and lesson.size == (48, 64)
    assert lesson.pick(smoke=1, lab=2) == 1
    lesson.scale = "paper"
    assert lesson.pick(smoke=1, lab=2, study=3) == 3
    with pytest.raises(ValueError, match="has no choice"):
        course.Lesson("02", "nyu", "smoke", 0, torch.device("cpu")).pick(lab=1)


def test_views_have_the_scales_size_and_are_the_same_twice(lesson):
    one, two = lesson.views("test"), lesson.views("test")
    assert one.image.shape == (4, 3, 48, 64) and torch.equal(one.image, two.image)


def test_figures_and_tables_are_kept_with_their_sources_and_reported(lesson, source, capsys):
    figure, axis = figures.new_figure()
    axis.plot([1, 2], [3, 4])
    lesson.figure(figure, "lines", "A line & a caption.", alt="A rising line.", sources=[source])
    lesson.table(pd.DataFrame({"name": ["<b>x</b>"], "value": [0.12345]}), "numbers", "A table.", sources=[source])
    record = json.loads((lesson.folder / "lines.json").read_text())
    assert record["label"] == "02.1" and record["sources"][0]["key"] == source.key and "versions" in record
    assert (lesson.folder / "lines.png").read_bytes()[:4] == b"\x89PNG"
    assert any(text.get_text().startswith("SMOKE") for text in figure.texts)
    page = write_report("scenes-rooms", "smoke").read_text()
    for words in ("A line &amp; a caption.", "A rising line.", "&lt;b&gt;x&lt;/b&gt;", "0.123", "toy/a/scenes-rooms",
                  "commit abc123", "smoke run"):
        assert words in page
    assert "<b>x</b>" not in page


def test_a_table_with_filters_is_kept_with_its_buttons(lesson):
    frame = pd.DataFrame({"claim": ["one", "<b>two</b>"]})
    lesson.table(frame, "claims", "Claims.", filters={"verdict": ["holds", "fails"]})
    kept = (lesson.folder / "claims.html").read_text()
    assert 'type="radio"' in kept and "holds (1)" in kept and "&lt;b&gt;two&lt;/b&gt;" in kept
    assert "holds (1)" in write_report("scenes-rooms", "smoke").read_text()


def test_nothing_to_report_is_a_sentence(lesson):
    with pytest.raises(FileNotFoundError, match="mde reproduce --data nyu --scale study"):
        write_report("nyu", "study")


def test_depth_is_drawn_with_shared_limits_and_unknown_pixels_grey():
    depth = torch.linspace(1, 4, 12).reshape(1, 3, 4)
    mask = depth > 2
    rows = [{"view": torch.rand(3, 3, 4), "ground truth": depth, "depth": depth + 1, "error": torch.ones(1, 3, 4)}]
    drawn = figures.image_rows(rows, masks=[mask])
    images = [axis.images[0] for axis in drawn.axes if axis.images]
    assert images[1].get_clim() == images[2].get_clim()
    low, high = images[3].get_clim()
    assert low == -high
    assert np.ma.getmaskarray(images[1].get_array()).sum() == int((~mask).sum())
    assert not np.ma.getmaskarray(images[2].get_array()).any()
    labels = [axis.get_ylabel() for axis in drawn.axes]
    assert "depth (m)" in labels and "error (m)" in labels


def test_the_depth_map_is_perceptually_uniform_and_colours_differ():
    import matplotlib

    light = matplotlib.colormaps[figures.DEPTH_MAP](np.linspace(0, 1, 64))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) < 0).all()  # near is bright, in grey too
    assert len(set(figures.COLOURS)) == len(figures.COLOURS)
    assert figures.colour_of("b", ["a", "b"]) == figures.COLOURS[1]


def test_style_does_not_leak():
    import matplotlib

    before = dict(matplotlib.rcParams)
    figures.new_figure()
    figures.image_grid([torch.rand(3, 4, 5)] * 3, columns=2, titles=["a", "b", "c"])
    assert dict(matplotlib.rcParams) == before


def test_intervals_are_drawn_around_zero():
    _, axis = figures.new_figure()
    figures.interval_plot(axis, ["a", "b"], [1, -1], [(0.5, 1.5), (-2, 0.5)])
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    assert len(axis.lines) == 5
