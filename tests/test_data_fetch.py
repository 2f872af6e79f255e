"""mdelib.data.fetch and the command lines of data_scripts, with the network replaced by files made here."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image
from typer.testing import CliRunner

from mdelib.data import fetch
from mdelib.data.kitti import load_kitti
from mdelib.data.nyu import load_nyu
from mdelib.data.sunrgbd import load_sunrgbd

sys.path.insert(0, str(Path(__file__).parents[1]))  # data_scripts is a folder of the repository, not installed


def png(mode, size=(12, 8)):
    buffer = io.BytesIO()
    array = np.full(size[::-1], 2560, np.uint16) if mode == "depth" else np.zeros((*size[::-1], 3), np.uint8)
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as held:
        for name, content in members.items():
            held.writestr(name, content)


@pytest.fixture
def network(tmp_path, monkeypatch):
    """`download` takes files from a folder by their names; what was asked for is recorded with its checks."""
    source, asked = tmp_path / "source", {}
    source.mkdir()

    def download(url, folder, *, name=None, **known):
        asked[url] = known
        path = Path(folder) / (name or url.rsplit("/", 1)[-1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((source / url.rsplit("/", 1)[-1]).read_bytes())
        if known.get("check"):
            known["check"](path)
        return path

    monkeypatch.setattr(fetch, "download", download)
    return source, asked


def put_nyu(source):
    with h5py.File(source / "nyu_depth_v2_labeled.mat", "w") as held:
        held["images"] = np.zeros((4, 3, 8, 6), np.uint8)
        held["depths"] = np.ones((4, 8, 6), np.float32)
    scipy.io.savemat(source / "splits.mat", {"trainNdxs": [[1], [2]], "testNdxs": [[3], [4]]})


def test_nyu_is_fetched_checked_and_prepared(network, tmp_path):
    source, asked = network
    put_nyu(source)
    said = []
    home = fetch.fetch_nyu(tmp_path / "data", say=said.append)
    assert load_nyu(home, "test").names == ("00002", "00003")
    assert {url.rsplit("/", 1)[-1]: known.get("md5") for url, known in asked.items()} == {
        "splits.mat": "08e3c3aea27130ac7c01ffd739a4535f",
        "nyu_depth_v2_labeled.mat": "520609c519fba3ba5ac58c8fefcc3530"}
    assert "4 views written" in said[-1] and str(home) in said[-1]


def test_a_labelled_file_at_hand_is_not_fetched(network, tmp_path):
    source, asked = network
    put_nyu(source)
    fetch.fetch_nyu(tmp_path / "data", labelled=source / "nyu_depth_v2_labeled.mat", say=str)
    assert [url.rsplit("/", 1)[-1] for url in asked] == ["splits.mat"]


def put_kitti(source):
    day, drive = "2011_09_26", "2011_09_26_drive_0002"
    calibration = "R_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: 10 0 6 1 0 10 4 2 0 0 1 0\n"
    zipped(source / f"{day}_calib.zip", {f"{day}/calib_cam_to_cam.txt": calibration, f"{day}/calib_velo_to_cam.txt":
                                         "R: 1 0 0 0 1 0 0 0 1\nT: 0 0 0\n"})
    inside = f"{day}/{drive}_sync"
    zipped(source / f"{drive}_sync.zip", {
        f"{inside}/image_02/data/0000000069.png": png("image"), f"{inside}/image_03/data/0000000069.png": b"right",
        f"{inside}/velodyne_points/data/0000000069.bin": bytes(16)})
    zipped(source / "data_depth_annotated.zip", {
        f"val/{drive}_sync/proj_depth/groundtruth/image_02/0000000069.png": png("depth"),
        f"val/{drive}_sync/proj_depth/groundtruth/image_03/0000000069.png": b"right",
        "train/2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/0000000005.png": b"other"})
    line = f"{inside}/image_02/data/0000000069.png {drive}_sync/proj_depth/groundtruth/image_02/0000000069.png 721"
    (source / "kitti_eigen_test.txt").write_text(line)
    (source / "kitti_eigen_train.txt").write_text(line.replace("0002", "0057"))


def test_kitti_lands_in_the_official_layout(network, tmp_path):
    source, asked = network
    put_kitti(source)
    said = []
    home = fetch.fetch_kitti(tmp_path / "data", say=said.append)
    data = load_kitti(home, "test")
    assert len(data) == 1 and data[0].depth.max() == 10 and data[0].intrinsics[0, 0] == 10
    files = {path.name for path in home.rglob("*.*") if path.is_file()}
    assert files == {"calib_cam_to_cam.txt", "calib_velo_to_cam.txt", "0000000069.png"}  # left camera only
    raw = [url for url, known in asked.items() if known.get("check") is fetch.verify_archive]
    assert [url.removeprefix(fetch._KITTI) for url in raw] == [
        "/raw_data/2011_09_26_calib.zip", "/raw_data/2011_09_26_drive_0002/2011_09_26_drive_0002_sync.zip"]
    assert said[0].startswith("Fetching 1 KITTI drives") and str(home) in said[-1]
    fetch.fetch_kitti(tmp_path / "data", drives="2011_09_26_drive_0002", lidar=True, say=str)
    assert len(list(home.rglob("*.bin"))) == 1


@pytest.mark.parametrize("drives", ["0001", ["2011_09_26_drive_0001", "../x"], "2011_12_24_drive_0001", []])
def test_what_is_no_drive_is_refused_before_the_download(network, tmp_path, drives):
    source, asked = network
    put_kitti(source)
    with pytest.raises(ValueError, match="KITTI drive"):
        fetch.fetch_kitti(tmp_path / "data", drives=drives, say=str)
    assert all("kitti_eigen" in url for url in asked)


def test_sun_rgbd_unpacks_what_the_loader_reads(network, tmp_path):
    source, _ = network
    scene = "SUNRGBD/kv2/kinect2data/a"
    zipped(source / "SUNRGBD.zip", {
        f"{scene}/image/0.jpg": png("image"), f"{scene}/depth/0.png": png("depth"),
        f"{scene}/depth_bfx/0.png": png("depth"), f"{scene}/intrinsics.txt": "500 0 6 0 500 4 0 0 1",
        f"{scene}/scene.txt": "office", f"{scene}/fullres/0.jpg": b"large", f"{scene}/seg.mat": b"labels",
        f"{scene}/fullres/intrinsics.txt": "1"})
    mat = io.BytesIO()
    scipy.io.savemat(mat, {"alltrain": np.array([["/n/SUNRGBD/none"]], dtype=object),
                           "alltest": np.array([[f"/n/fs/{scene}/"]], dtype=object)})
    zipped(source / "SUNRGBDtoolbox.zip", {"SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat": mat.getvalue(),
                                           "SUNRGBDtoolbox/Metadata/SUNRGBDMeta.mat": b"large"})
    home = fetch.fetch_sunrgbd(tmp_path / "data", say=str)
    assert load_sunrgbd(home, "test")[0].mask.all()
    names = sorted(path.name for path in home.rglob("*.*") if path.is_file())
    assert names == ["0.jpg", "0.png", "0.png", "allsplit.mat", "intrinsics.txt", "scene.txt"]


def test_meter_weights_get_their_names(network, tmp_path):
    source, asked = network
    for name in ("build_model_best_nyu_xxs", "build_model_best_kitti_xxs", "LICENSE"):
        (source / name).write_text(name)
    home = fetch.fetch_meter(tmp_path / "data", say=str)
    assert (home / "meter_xxs_nyu.pth").read_text() == "build_model_best_nyu_xxs"
    assert all(len(known["sha256"]) == 64 for known in asked.values())


def test_the_stated_checksums_are_those_of_the_real_samples(real_data):
    import hashlib

    known = {f"weights/{name}.pth": sha256 for name, (_, sha256) in fetch.METER_WEIGHTS.items()}
    known |= {f"splits/kitti_eigen_{split}.txt": sha256 for split, sha256 in fetch._EIGEN_SHA256.items()}
    for place, sha256 in known.items():
        assert hashlib.sha256((real_data / place).read_bytes()).hexdigest() == sha256
    splits = (real_data / "splits" / "nyu_splits.mat").read_bytes()
    assert hashlib.md5(splits).hexdigest() == fetch._NYU_SPLITS["md5"]


def command(name):
    import importlib

    import typer

    app = typer.Typer()
    app.command()(importlib.import_module(f"data_scripts.{name}").main)
    return app


def test_command_lines_say_where_things_went(network, tmp_path):
    source, _ = network
    put_nyu(source)
    result = CliRunner().invoke(command("download_nyu"), ["--out", str(tmp_path / "d"), "--lossless"])
    assert result.exit_code == 0 and f"NYU is ready in {tmp_path / 'd' / 'nyu'}" in result.output
    result = CliRunner().invoke(command("prepare_nyu"), ["--out", str(tmp_path / "d"), "--lossless"])
    assert result.exit_code == 0 and "0 views written, 4 kept" in result.output


@pytest.mark.parametrize(("name", "arguments", "message"), [
    ("prepare_nyu", [], "splits.mat is not there"),
    ("download_nyu", ["--depth", "holes"], "'holes' is unknown"),
    ("download_kitti", ["--drives", "a,b"], "'a' is no KITTI drive"),
])
def test_command_lines_end_with_a_sentence_and_not_a_traceback(network, tmp_path, name, arguments, message):
    source, _ = network
    put_nyu(source)
    put_kitti(source)
    result = CliRunner().invoke(command(name), [*arguments, "--out", str(tmp_path / "d")])
    assert result.exit_code == 1 and message in result.output and "Traceback" not in result.output


@pytest.mark.parametrize("name", ["download_sunrgbd", "download_meter"])
def test_the_other_command_lines_explain_themselves(name):
    result = CliRunner().invoke(command(name), ["--help"])
    assert result.exit_code == 0 and "--out" in result.output
