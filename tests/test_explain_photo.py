"""One photograph explained: networks by name, targets in words, the figure, and what a person may type wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mdelib.attribution import methods_for
from mdelib.explain_photo import explain_photo, load_network, read_photo, target_of


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "room.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_networks.py").write_text(
        "import torch\nfrom torch import nn\nfrom mdelib.models import wrap\n"
        "def tiny():\n    return wrap(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 1, 1)))\n"
        "def words():\n    return 'none'\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_networks:tiny"
    sys.modules.pop("my_networks", None)


def test_a_photograph_is_explained(photo: Path, own: str, tmp_path: Path) -> None:
    written = explain_photo(photo, own, target="pixel:10,20", size=(24, 36))
    assert written == photo.with_name("room_explained.png")
    with Image.open(written) as figure:
        assert figure.size[0] == 900 and figure.size[1] > 500
        assert len(np.unique(np.asarray(figure.convert("L")))) > 50
    few = explain_photo(photo, own, methods=["saliency"], size=(24, 36), out=tmp_path / "few.png")
    with Image.open(few) as one, Image.open(written) as all_of_them:
        assert one.size[1] < all_of_them.size[1]


def test_networks_by_name(own: str) -> None:
    assert "attention_rollout" in methods_for(load_network("rooms_transformer"))
    assert "attention_rollout" not in methods_for(load_network(own))
    assert not load_network(own).training


def test_photographs_are_resized(photo: Path) -> None:
    assert read_photo(photo).shape == (1, 3, 96, 144)
    assert read_photo(photo, (20, 30)).shape == (1, 3, 20, 30)


def test_targets_in_words() -> None:
    depth = torch.arange(1.0, 49).view(1, 1, 6, 8)
    assert float(target_of("mean_depth", depth)(depth)) == 24.5
    assert float(target_of("pixel:1,2", depth)(depth)) == 11
    assert float(target_of("near_far", depth)(depth)) == 36
    assert float(target_of("edge:3,3", depth)(depth)) > 0


@pytest.mark.parametrize(("options", "sentence"), [
    ({"target": "depth"}, "choose mean_depth"), ({"target": "pixel:1"}, "names no place"),
    ({"target": "pixel:a,b"}, "names no place"), ({"target": "pixel:99,0"}, "outside a map"),
    ({"methods": ["attention_rollout"]}, "unknown method for"), ({"network": "my_networks:large"}, "cannot be made"),
    ({"network": "nobody:tiny"}, "cannot be made"), ({"network": "my_networks:words"}, "expected a torch.nn.Module"),
])
def test_what_a_person_typed_wrong(options: dict[str, object], sentence: str, photo: Path, own: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        explain_photo(photo, **{"network": own, "size": (24, 36), **options})


def test_files_that_are_no_photographs(tmp_path: Path, own: str) -> None:
    with pytest.raises(FileNotFoundError, match="path of a photograph"):
        explain_photo(tmp_path / "nothing.jpg", own)
    (tmp_path / "words.jpg").write_text("no picture")
    with pytest.raises(ValueError, match="no picture"):
        explain_photo(tmp_path / "words.jpg", own)
    with pytest.raises(FileNotFoundError, match="did you mean rooms_cnn"):
        load_network("rooms_cn")
