"""METER-XXS with the authors' weights reaches what an independent evaluation of the same 500 images gave."""

from __future__ import annotations

import pytest
import torch

from mdelib import data, evaluation, models
from mdelib.references import stored_reference

EXPECTED = {"rmse": (0.532, 0.01), "abs_rel": (0.159, 0.005), "delta1": (0.789, 0.01)}


def test_on_all_nyu_test_images_at_hand(real_data):
    network = models.create_model("meter_xxs", weights=real_data / "weights" / "meter_xxs_nyu.pth")
    views = data.load("nyu", "test", root=real_data)
    if len(views) != 500:
        pytest.skip(f"the numbers are those of 500 test images, here are {len(views)}")
    with torch.inference_mode():
        names, per_image = evaluation.evaluate(network, views, "bts_nyu", size=(192, 256))
    found = evaluation.pooled(per_image, "bts_nyu")
    for name, (value, tolerance) in EXPECTED.items():
        assert found[name] == pytest.approx(value, abs=tolerance)
    stored, = stored_reference("released_meter", "nyu", "study")
    assert list(names) == stored.names
    assert found["rmse"] == pytest.approx(stored.metrics["rmse"], abs=0.005)


def test_the_committed_result_says_the_same():
    stored, = stored_reference("released_meter", "nyu", "study")
    assert len(stored.names) == 500 and stored.provenance["parameters"] == 713_464
    for name, (value, tolerance) in EXPECTED.items():
        assert stored.metrics[name] == pytest.approx(value, abs=tolerance)
