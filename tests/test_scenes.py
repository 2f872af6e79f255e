"""The rendered rooms and streets: views, their ground truth, twins without a cue, and the files they are kept in."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import mdelib.data.scene_cache as scene_cache
from mdelib.data.meshes import GROUND
from mdelib.data.rendering import SIZE_REFERENCE, generator_key
from mdelib.data.scenes import CUES, load_scenes, render_view

NAMES = ("scenes-rooms", "scenes-streets")
SIZE = (24, 32)


@cache
def view(name: str, index: int = 0, without: str | None = None, split: str = "test", size=SIZE):
    return render_view(name, split, index, size, without=without)


def _points(v) -> torch.Tensor:
    """(3, H, W) points in the camera's frame."""
    height, width = v.depth.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    rays = torch.linalg.inv(v.intrinsics) @ torch.stack([x, y, torch.ones_like(x)]).reshape(3, -1)
    return rays.reshape(3, height, width) * v.depth


@pytest.mark.parametrize("name", NAMES)
def test_a_view_has_every_kind_of_ground_truth(name: str) -> None:
    v = view(name)
    assert v.image.shape == (3, *SIZE) and v.image.dtype == torch.float32 and 0 <= v.image.min() <= v.image.max() <= 1
    assert v.image.std() > 0.05
    assert v.depth.shape == v.mask.shape == (1, *SIZE) and v.mask.dtype == torch.bool
    assert v.extras["objects"].shape == (1, *SIZE) and v.extras["objects"].dtype == torch.int64
    assert len(v.extras["objects"].unique()) >= 4
    assert torch.allclose(v.intrinsics[:2, 2], torch.tensor([15.5, 11.5]))
    assert torch.equal(v.mask, v.depth > 0) and torch.equal(v.mask, v.extras["objects"] > 0)


@pytest.mark.parametrize("name", NAMES)
def test_normals_are_unit_and_face_the_camera(name: str) -> None:
    v = view(name)
    known = v.mask[0]
    normals = v.extras["normals"]
    assert torch.allclose(normals.norm(dim=0)[known], torch.ones(int(known.sum())), atol=1e-4)
    assert ((normals * _points(v)).sum(0)[known] < 0).all()
    assert (normals[:, ~known] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_ground_points_lie_in_level_planes(name: str) -> None:
    v = view(name, 1, size=(48, 64))
    ground = v.extras["objects"][0] == GROUND
    up = v.extras["normals"][:, ground].median(dim=1).values
    level = (v.extras["normals"][:, ground] * up[:, None]).sum(0) > 0.999
    height = (up[:, None] * _points(v)[:, ground]).sum(0)[level]
    common = height.median()
    assert ground.sum() > 50 and level.float().mean() > 0.7
    if name == "scenes-rooms":
        assert (height - common).abs().max() < 1e-3
        assert -1.7 < common < -0.8  # the camera's height
    else:  # road, markings, kerb, pavement and lawn differ by 15 cm
        assert (height - common).abs().max() < 0.2


@pytest.mark.parametrize("name", NAMES)
def test_normals_agree_with_the_slope_of_the_depth(name: str) -> None:
    v = view(name, 2, size=(96, 128))
    points, normals = _points(v), v.extras["normals"]
    across = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
    down = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
    slope = torch.linalg.cross(down, across, dim=0)
    slope = slope / slope.norm(dim=0, keepdim=True).clamp(min=1e-12)
    middle = normals[:, 1:-1, 1:-1]
    same = v.mask[0, 1:-1, 1:-1].clone()
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        window = (slice(dy, dy + same.shape[0]), slice(dx, dx + same.shape[1]))
        same &= (normals[:, *window] - middle).abs().amax(0) < 1e-3
        same &= v.extras["objects"][0][window] == v.extras["objects"][0, 1:-1, 1:-1]
    agreement = (slope * middle).sum(0)
    place = same & (v.extras["objects"][0, 1:-1, 1:-1] < 10)
    assert same.float().mean() > 0.4
    assert (agreement[place] > 0.99).float().mean() > 0.96
    assert (agreement[same] > 0.99).float().mean() > 0.85  # books beside books: parallel faces, other depths


def test_rooms_are_closed_and_streets_have_a_sky() -> None:
    for index in range(4):
        room, street = view(NAMES[0], index), view(NAMES[1], index)
        assert room.mask.all() and room.depth.min() > 0.2 and room.depth.max() < 10
        assert 1.2 < room.depth.median() < 5
        assert not street.mask.all() and street.mask.float().mean() > 0.5
        assert street.depth.max() <= 80 and street.depth[street.mask].min() > 0.5
        unknown = ~street.mask[0]
        rows = torch.arange(SIZE[0])[:, None].expand(*SIZE)
        assert rows[unknown].float().mean() < rows[~unknown].float().mean()  # the sky is above


def test_lidar_is_a_sparse_part_of_the_depth() -> None:
    v = view(NAMES[1], size=(96, 128))
    lidar = v.extras["lidar"]
    hit = lidar > 0
    assert torch.equal(lidar[hit], v.depth[hit])
    assert 0.02 < hit.float().mean() < 0.35
    assert not hit[:, :30].any()  # nothing two degrees above the horizon
    assert (hit.sum(-1) == 0)[0, 50:].any()  # rows between the scan lines
    assert "lidar" not in view(NAMES[0]).extras


def test_views_and_splits_differ() -> None:
    for name in NAMES:
        pictures = [view(name, 0).image, view(name, 1).image, view(name, 0, split="train").image]
        depths = [view(name, 0).depth, view(name, 1).depth, view(name, 0, split="train").depth]
        for a, b in ((0, 1), (0, 2), (1, 2)):
            assert not torch.equal(pictures[a], pictures[b]) and not torch.equal(depths[a], depths[b])


def test_the_picture_size_changes_the_sampling_and_not_the_scene() -> None:
    small, large = view(NAMES[0]), view(NAMES[0], size=(72, 96))  # three times: pixel centres coincide
    assert torch.allclose(small.depth, large.depth[:, 1::3, 1::3], rtol=1e-4)
    assert torch.allclose(small.intrinsics[0, 0] * 3, large.intrinsics[0, 0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cue", CUES)
def test_twins_without_a_cue(name: str, cue: str) -> None:
    full = view(name, 1, size=(48, 64))
    twin = view(name, 1, without=cue, size=(48, 64))
    changed = twin.extras["cue_pixels"]
    assert changed.shape == (1, 48, 64) and changed.dtype == torch.bool
    difference = (twin.image - full.image).abs().amax(0, keepdim=True)
    assert torch.equal(changed, (difference * 255).round() > 2)
    assert 0 < changed.float().mean() < 0.9
    assert "cue_pixels" not in full.extras
    assert torch.equal(twin.intrinsics, full.intrinsics)
    if cue != "size":
        assert torch.equal(twin.depth, full.depth) and torch.equal(twin.extras["objects"], full.extras["objects"])
        assert torch.equal(twin.extras["normals"], full.extras["normals"])


def test_the_shadow_cue_is_brightness_and_the_texture_cue_is_contrast() -> None:
    full, bare = view(NAMES[0], 1, size=(48, 64)), view(NAMES[0], 1, without="shadows", size=(48, 64))
    where = bare.extras["cue_pixels"].expand_as(full.image)
    assert bare.image[where].mean() > full.image[where].mean() + 0.02
    smooth = view(NAMES[0], 1, without="texture", size=(48, 64))
    def roughness(v) -> float:
        return float((v.image[..., 1:] - v.image[..., :-1]).abs().mean())
    assert roughness(smooth) < roughness(full)


def test_the_contact_cue_lies_at_the_feet_of_things() -> None:
    full, veiled = view(NAMES[1], 1, size=(48, 64)), view(NAMES[1], 1, without="contact", size=(48, 64))
    where = veiled.extras["cue_pixels"]
    objects = full.extras["objects"]
    assert (objects[where] == GROUND).any() and (objects[where] != GROUND).any()
    assert full.mask[where].all()
    assert where.float().mean() < 0.3


@pytest.mark.parametrize("name", NAMES)
def test_the_size_cue_shrinks_near_things_and_leaves_the_place(name: str) -> None:
    full, twin = view(name, 1, size=(48, 64)), view(name, 1, without="size", size=(48, 64))
    before, after = full.extras["objects"], twin.extras["objects"]
    things = [int(i) for i in before.unique() if i >= 10]
    near = [i for i in things if full.depth[before == i].median() < 0.5 * SIZE_REFERENCE[name]]
    areas = [(int((before == i).sum()), int((after == i).sum())) for i in near]
    assert sum(b for _, b in areas) < sum(a for a, _ in areas)
    place = (before == GROUND) & (after == GROUND)  # ground seen before and after lies where it lay
    assert torch.allclose(full.depth[place], twin.depth[place], rtol=1e-5)
    assert (twin.depth[(before >= 10) & (after == GROUND)] > full.depth[(before >= 10) & (after == GROUND)]).all()


def test_names_splits_cues_and_sizes_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'scenes-caves' are unknown: choose one of scenes-rooms, scenes-streets"):
        load_scenes("scenes-caves", "test", root=tmp_path)
    with pytest.raises(ValueError, match=r"split 'dev'.*choose one of train, test, fit, val"):
        render_view(NAMES[0], "dev", 0, SIZE)
    with pytest.raises(ValueError, match="cue 'smell' is unknown: choose one of shadows, texture, contact, size"):
        render_view(NAMES[0], "test", 0, SIZE, without="smell")
    with pytest.raises(ValueError, match=r"view 100 .* choose one of 0 to 99"):
        render_view(NAMES[0], "test", 100, SIZE)
    with pytest.raises(ValueError, match=r"expected .height, width. of at least 8"):
        load_scenes(NAMES[0], "test", root=tmp_path, size=(4, 32))
    with pytest.raises(ValueError, match="count is 0"):
        load_scenes(NAMES[0], "test", root=tmp_path, size=SIZE, count=0)


def test_same_view_whatever_the_count_and_from_the_cache(tmp_path: Path) -> None:
    one = load_scenes(NAMES[0], "test", root=tmp_path / "a", size=SIZE, count=1)
    two = load_scenes(NAMES[0], "test", root=tmp_path / "b", size=SIZE, count=2)
    assert (len(one), len(two)) == (1, 2) and one.fingerprint != two.fingerprint
    fresh = view(NAMES[0])
    for stored in (one[0], two[0]):
        assert torch.equal(stored.image, fresh.image) and torch.equal(stored.depth, fresh.depth)
        assert torch.equal(stored.extras["normals"], fresh.extras["normals"])
    assert one.info.max_depth == 10 and not one.info.real and one.info.crop is None
    batch = two.tensors(extras=True)
    assert batch.image.shape == (2, 3, *SIZE) and set(batch.extras) == {"normals", "objects"}


def test_lazy_renders_what_is_read_and_nothing_else(tmp_path: Path) -> None:
    eager = load_scenes(NAMES[0], "test", root=tmp_path / "a", size=SIZE, count=2)
    lazy = load_scenes(NAMES[0], "test", root=tmp_path / "b", size=SIZE, count=2, lazy=True)
    assert lazy.fingerprint == eager.fingerprint and not list((tmp_path / "b").rglob("*.npz"))
    assert torch.equal(lazy[1].image, eager[1].image)
    assert [path.name for path in (tmp_path / "b").rglob("*.npz")] == ["test-0001.npz"]


def test_a_failing_process_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_cache, "_ALONE", 0)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="rendering scenes-rooms test stopped with exit status 1"):
        load_scenes(NAMES[0], "test", root=tmp_path, size=SIZE, count=2, processes=2)


def test_rendering_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    def fake(name, split, index, size, without=None):
        if len(made) == 2 and index == 2:
            made.append("killed")
            raise KeyboardInterrupt
        made.append(index)
        return {"image": np.zeros((*size, 3), np.uint8)}
    monkeypatch.setattr(scene_cache, "render_arrays", fake)
    with pytest.raises(KeyboardInterrupt):
        load_scenes(NAMES[0], "train", root=tmp_path, size=SIZE, count=4)
    load_scenes(NAMES[0], "train", root=tmp_path, size=SIZE, count=4)
    assert made == [0, 1, "killed", 2, 3]
    assert not list(tmp_path.rglob("*.tmp"))


def test_damaged_and_outdated_files_are_rendered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_scenes(NAMES[0], "test", root=tmp_path, size=SIZE, count=2)
    first, second = sorted(tmp_path.rglob("*.npz"))
    whole, age = first.read_bytes(), second.stat().st_mtime_ns
    first.write_bytes(whole[: len(whole) // 2])
    data = load_scenes(NAMES[0], "test", root=tmp_path, size=SIZE, count=2)
    assert torch.equal(data[0].image, view(NAMES[0]).image)
    assert second.stat().st_mtime_ns == age  # the whole one was kept
    first.write_bytes(whole[:100])
    assert torch.equal(data[0].depth, view(NAMES[0]).depth)  # damaged while in use
    monkeypatch.setattr(scene_cache, "generator_key", lambda: "0" * 16)
    assert not scene_cache.is_stored(first)


def test_fit_and_val_part_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_cache, "render_arrays", lambda name, split, index, size: {"image": np.zeros(1)})
    monkeypatch.setattr(scene_cache, "_ALONE", 10**6)
    split = {part: load_scenes(NAMES[1], part, root=tmp_path, size=SIZE) for part in ("train", "fit", "val", "test")}
    assert [len(data) for data in split.values()] == [300, 270, 30, 60]
    assert sorted(split["fit"].names + split["val"].names) == sorted(split["train"].names)
    assert split["val"].names[:2] == ("train-0000", "train-0010")
    assert not set(split["test"].names) & set(split["train"].names)
    assert len(load_scenes(NAMES[1], "val", root=tmp_path, size=SIZE, count=3)) == 3


def test_the_key_follows_the_code_and_not_its_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mdelib.data.rendering as rendering

    for module in rendering._MODULES:
        text = Path(rendering.__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
        (tmp_path / f"{module}.py").write_text(text, encoding="utf-8")
    before = generator_key()
    monkeypatch.setattr(rendering, "__file__", str(tmp_path / "rendering.py"))
    def key() -> str:
        return generator_key.__wrapped__()
    assert key() == before and len(before) == 16
    rooms = tmp_path / "rooms.py"
    source = rooms.read_text(encoding="utf-8")
    rooms.write_text(source.replace('"""One room, its camera and its light', '"""A room') + "\n# a comment\n")
    assert key() == before
    rooms.write_text(source.replace('"living", "bedroom"', '"bedroom", "living"', 1))
    assert key() != before


def test_command_line_writes_a_contact_sheet(tmp_path: Path) -> None:
    from typer import Typer

    from data_scripts.render_scenes import main

    app = Typer()
    app.command()(main)
    sheet = tmp_path / "sheet.png"
    arguments = ["--name", NAMES[0], "--split", "test", "--size", "24x32", "--count", "2", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*arguments, "--sheet", str(sheet)])
    assert result.exit_code == 0, result.output
    assert "2 views" in result.output and sheet.stat().st_size > 100
    bad = CliRunner().invoke(app, ["--size", "large", "--out", str(tmp_path)])
    assert bad.exit_code == 2


def test_other_processes_render_the_same_bytes(tmp_path: Path) -> None:
    """Also for a caller in another folder and without a main guard, which must not be run again."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "import mdelib.data.scene_cache as c; c._ALONE = 0\n"
        "from mdelib.data.scenes import load_scenes\n"
        f"print(len(load_scenes('scenes-rooms', 'test', root='there', size={SIZE}, count=2, processes=2)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "2", done.stderr
    load_scenes(NAMES[0], "test", root=tmp_path / "here", size=SIZE, count=2, processes=1)
    here, there = ({path.name: path for path in (tmp_path / side).rglob("*.npz")} for side in ("here", "there"))
    assert sorted(here) == sorted(there) == ["test-0000.npz", "test-0001.npz"]
    for name in here:
        with np.load(here[name]) as a, np.load(there[name]) as b:
            assert a.files == b.files
            assert all(a[key].tobytes() == b[key].tobytes() for key in a.files)
