"""Where the real data sets come from: their addresses, their checksums, and the way into the data folder.

Archives go to ``downloads/<data set>`` below the data folder and are kept: what is there and right is not
fetched again, also if it was brought by hand. The data sets' terms allow research, not redistribution; read
them first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from mdelib.data.archives import download, safe_extract, verify_archive
from mdelib.data.kitti import read_eigen_list
from mdelib.data.nyu_official import prepare_nyu

__all__ = ["METER_WEIGHTS", "fetch_kitti", "fetch_meter", "fetch_nyu", "fetch_sunrgbd"]

Say = Callable[[str], None]

# N. Silberman, https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html; MD5 as several public loaders state it
_NYU = "http://horatio.cs.nyu.edu/mit/silberman"
_NYU_LABELLED = {"md5": "520609c519fba3ba5ac58c8fefcc3530", "size": 2_972_037_809}
_NYU_SPLITS = {"md5": "08e3c3aea27130ac7c01ffd739a4535f"}

# https://www.cvlibs.net/datasets/kitti (CC BY-NC-SA 3.0). KITTI publishes no checksums: the drives are
# checked by the CRCs inside the archives; the depth archive's MD5 is the one that the torch-uncertainty
# library states
_KITTI = "https://s3.eu-central-1.amazonaws.com/avg-kitti"
_KITTI_DEPTH_MD5 = "7d1ce32633dc2f43d9d1656a1f875e47"
_KITTI_DAYS = ("2011_09_26", "2011_09_28", "2011_09_29", "2011_09_30", "2011_10_03")
# the lists of Eigen et al. 2014 with ground-truth paths, as published with TIE-KD (Apache-2.0)
_TIE_KD = "https://raw.githubusercontent.com/HPC-Lab-KOREATECH/TIE-KD"
_EIGEN = f"{_TIE_KD}/5340d152f88b5ba5c94c5b3aab318eae14a0490a/splits/kitti_eigen"
_EIGEN_SHA256 = {"train": "3655308ee4a017094dc620402db3fc587d769cfbfa9a16c6d0f8de6dcbe109ec",
                 "test": "8d0499af9ab4c0d1cd7944d572b0e0e4412feab1e73f4003038426fde699b53a"}

# https://rgbd.cs.princeton.edu; sizes and MD5 as public loaders state them
_SUN = "http://rgbd.cs.princeton.edu/data"
_SUN_ARCHIVES = {"SUNRGBD.zip": {"size": 6_885_481_608},
                 "SUNRGBDtoolbox.zip": {"md5": "18d22e1761d36352f37232cba102f91f"}}

# https://github.com/lorenzopapa5/METER (MIT)
_METER = "https://raw.githubusercontent.com/lorenzopapa5/METER/0f9a49ada3af88393ba5dce3839ab471329e37bd"
_METER_LICENCE = "add475e2f92275a55f892d5b1b0484ee5abfcc9105bb736541991b55a746506e"
METER_WEIGHTS = {
    "meter_xxs_nyu": ("models/build_model_best_nyu_xxs",
                      "327cddf3bfc85f4a13b8d18d2f13d8e40cdeb022ea397995c409ef1569bcbb53"),
    "meter_xxs_kitti": ("models/build_model_best_kitti_xxs",
                        "e55544ae36f9ad74237017fd5f8e761db4b258dbed44623c71ce305d44488bea"),
}


def fetch_nyu(root: Path, *, labelled: Path | None = None, depth: str = "filled", lossless: bool = False,
              say: Say = print) -> Path:
    """NYU-Depth-v2 labelled: fetch the two official files (3.0 GB) and prepare ``<root>/nyu``.

    Args:
        root: the data folder.
        labelled: an ``nyu_depth_v2_labeled.mat`` that is already on disk.
        depth, lossless: see `prepare_nyu`.
        say: told what happens, in sentences.
    """
    downloads = root / "downloads" / "nyu"
    splits = download(f"{_NYU}/indoor_seg_sup/splits.mat", downloads, **_NYU_SPLITS)
    if labelled is None:
        say(f"Fetching NYU-Depth-v2 (3.0 GB) into {downloads}.")
        labelled = download(f"{_NYU}/nyu_depth_v2/nyu_depth_v2_labeled.mat", downloads, **_NYU_LABELLED)
    count = prepare_nyu(labelled, splits, root / "nyu", depth=depth, lossless=lossless)
    say(f"NYU is ready in {root / 'nyu'}: {count['written']} views written, {count['kept']} were there. "
        f"{downloads} is no longer needed.")
    return root / "nyu"


def fetch_kitti(root: Path, *, drives: str | Sequence[str] = "eigen-test", lidar: bool = False,
                say: Say = print) -> Path:
    """KITTI: the lists of Eigen et al., the days' calibration, drives (left colour camera) and their depth.

    Args:
        root: the data folder.
        drives: ``"eigen-test"`` (28 drives), ``"eigen"`` (training as well, about 60 drives and 175 GB), or
            drives by name, ``2011_09_26_drive_0001``.
        lidar: unpack the LiDAR sweeps too.
        say: told what happens, in sentences.

    Raises:
        ValueError: a drive that is no drive, or a file that cannot be fetched.
    """
    home, downloads = root / "kitti", root / "downloads" / "kitti"
    lists = {split: download(f"{_EIGEN}_{split}.txt", root / "splits", sha256=known)
             for split, known in _EIGEN_SHA256.items()}
    wanted = _drives(drives, lists)
    say(f"Fetching {len(wanted)} KITTI drives and the annotated depth (14 GB) into {downloads}.")
    for day in sorted({drive[:10] for drive in wanted}):
        archive = download(f"{_KITTI}/raw_data/{day}_calib.zip", downloads, check=verify_archive)
        safe_extract(archive, home / "raw")
    cameras = ("/image_02/", "/velodyne_points/") if lidar else ("/image_02/",)
    for drive in wanted:
        archive = download(f"{_KITTI}/raw_data/{drive}/{drive}_sync.zip", downloads, check=verify_archive)
        safe_extract(archive, home / "raw", only=lambda member: any(part in member for part in cameras))
    archive = download(f"{_KITTI}/data_depth_annotated.zip", downloads, md5=_KITTI_DEPTH_MD5)
    folders = {f"{drive}_sync" for drive in wanted}
    maps = safe_extract(archive, home / "depth", only=lambda member: (
        "/image_02/" in member and bool(folders.intersection(member.split("/")))))
    say(f"KITTI is ready in {home}: {len(wanted)} drives, {len(maps)} depth maps; Eigen's lists are in "
        f"{root / 'splits'}. {downloads} is no longer needed.")
    return home


def fetch_sunrgbd(root: Path, *, say: Say = print) -> Path:
    """SUN RGB-D: fetch both archives (7.5 GB) and unpack what is read here into ``<root>/sunrgbd``.

    Args:
        root: the data folder.
        say: told what happens, in sentences.
    """
    home, downloads = root / "sunrgbd", root / "downloads" / "sunrgbd"
    say(f"Fetching SUN RGB-D (7.5 GB) into {downloads}.")
    for name, known in _SUN_ARCHIVES.items():
        check = None if "md5" in known else verify_archive
        archive = download(f"{_SUN}/{name}", downloads, **known, check=check)
        safe_extract(archive, home, only=_read_of_sunrgbd)
    say(f"SUN RGB-D is ready in {home}. {downloads} is no longer needed.")
    return home


def fetch_meter(root: Path, *, say: Say = print) -> Path:
    """The METER authors' two checkpoints (3 MB each, MIT licence) into ``<root>/weights``.

    Args:
        root: the data folder.
        say: told what happens, in sentences.
    """
    home = root / "weights"
    for name, (path, sha256) in METER_WEIGHTS.items():
        download(f"{_METER}/{path}", home, name=f"{name}.pth", sha256=sha256)
    download(f"{_METER}/LICENSE", home, name="LICENSE_METER_MIT.txt", sha256=_METER_LICENCE)
    say(f"METER's weights are in {home}: {', '.join(f'{name}.pth' for name in METER_WEIGHTS)}.")
    return home


def _drives(drives: str | Sequence[str], lists: dict[str, Path]) -> list[str]:
    if drives in ("eigen", "eigen-test"):
        chosen = [lists["test"]] if drives == "eigen-test" else list(lists.values())
        frames = [frame for path in chosen for frame in read_eigen_list(path)]
        return sorted({frame.drive.removesuffix("_sync") for frame in frames})
    names = [drives] if isinstance(drives, str) else list(drives)
    for name in names:
        if not re.fullmatch(r"\d{4}_\d\d_\d\d_drive_\d{4}", name) or name[:10] not in _KITTI_DAYS:
            raise ValueError(f"{name!r} is no KITTI drive: expected eigen-test, eigen, or names such as "
                             "2011_09_26_drive_0001")
    if not names:
        raise ValueError("no KITTI drive was named: expected eigen-test, eigen, or names such as "
                         "2011_09_26_drive_0001")
    return sorted(set(names))


def _read_of_sunrgbd(member: str) -> bool:
    """Whether the loader reads this member of either archive; the labels stay packed."""
    parts = member.split("/")
    if parts[-1] in ("intrinsics.txt", "scene.txt", "allsplit.mat"):
        return "fullres" not in parts
    return parts[0] == "SUNRGBD" and len(parts) > 2 and parts[-2] in ("image", "depth", "depth_bfx")
