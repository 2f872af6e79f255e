"""One photograph explained: networks by name, targets in words, the figure, and what a person may type wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mdelib import explain_photo as module
from mdelib.attribution import methods_for
from mdelib.explain_photo import explain_photo, load_network, place_of, read_photo, target_of


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
    ({"target": "pixel:a,b"}, "names no place"),
    ({"target": "pixel:99,0"}, "sees this photograph at 24x36 pixels, so rows are 0 to 23, columns 0 to 35"),
    ({"target": "edge:-1,0"}, "rows are 0 to 23"), ({"size": (0, 5)}, "as in --size 96 128"),
    ({"out": Path("figure.doc")}, "end the name in .png"), ({"out": Path("figure")}, "end the name in .png"),
    ({"out": Path("/proc/nowhere/figure.png")}, "another place with --out"),
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


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_picture_that_is_cut_off(ending: str, photo: Path, tmp_path: Path) -> None:
    whole = tmp_path / f"whole.{ending}"
    with Image.open(photo) as file:
        file.save(whole)
    part = tmp_path / f"part.{ending}"
    part.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(ValueError, match="cut off or damaged"):
        read_photo(part)


def test_a_telephones_picture_stands_upright(tmp_path: Path) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30] = 255  # bright at the left
    picture = Image.fromarray(pixels)
    note = picture.getexif()
    note[0x0112] = 6  # the camera was held so that the left side of its sensor is the top
    picture.save(tmp_path / "turned.png", exif=note)
    image = read_photo(tmp_path / "turned.png", (60, 40))
    assert float(image[:, :, :30].min()) == 1 and float(image[:, :, 30:].max()) == 0


def test_the_figure_says_in_words_what_it_shows(photo: Path, own: str, tmp_path: Path) -> None:
    said: list[str] = []
    written = explain_photo(photo, own, target="pixel:10,20", methods=["saliency"], size=(24, 36), say=said.append,
                            out=tmp_path / "new" / "figure.png")
    with Image.open(written) as figure:
        words = figure.text["Description"]
    for part in ("room.jpg", "my_networks:tiny", "depth at (10, 20) is", " m", "Maps: saliency"):
        assert part in words
    assert said[0].startswith("my_networks:tiny sees 24x36 pixels") and "depth at (10, 20) is" in said[0]
    assert [line.split(":")[0] for line in said[1:]] == ["saliency"]


def test_a_vector_graphic_is_written_too(photo: Path, own: str, tmp_path: Path) -> None:
    written = explain_photo(photo, own, methods=["saliency"], size=(24, 36), out=tmp_path / "figure.svg")
    assert written.read_text().startswith("<?xml")


def test_places_of_targets() -> None:
    assert place_of("pixel:3,4") == (3, 4) and place_of("edge:5,6") == (5, 6)
    assert place_of("mean_depth") is None and place_of("near_far") is None


def test_own_networks_are_found_in_the_folder_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets_of_this_folder.py").write_text("from torch import nn\ndef net():\n    return nn.Identity()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    assert isinstance(load_network("nets_of_this_folder:net"), torch.nn.Identity)
    sys.modules.pop("nets_of_this_folder")


def test_hugging_face_without_its_package_or_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from mdelib.models import huggingface

    for error, sentence in ((ModuleNotFoundError("install it with pip"), "install it with pip"),
                            (OSError("nobody/none is not a model.\nMore."), "Check the name and the connection")):
        def fail(name: str, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(huggingface, "wrap_huggingface", fail)
        with pytest.raises(ValueError, match=sentence):
            load_network("hf:nobody/none")


def test_depth_without_a_unit_is_not_called_metres(photo: Path, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    network = torch.nn.Conv2d(3, 1, 1).eval()
    network.relative = True
    monkeypatch.setattr(module, "load_network", lambda name: network)
    said: list[str] = []
    explain_photo(photo, "hf:relative", methods=["saliency"], size=(24, 36), say=said.append, out=tmp_path / "a.png")
    assert not said[0].endswith(" m")
