"""KITTI's calibration files, and LiDAR points projected into a camera.

    u ~ P_rect_0c  R_rect_00  [R | T]_velo_to_cam  (x, y, z, 1)

(Geiger et al. 2013, Eq 8). Pixel centres are at integers from 0; depth is the third coordinate of the camera.
Explained in notebooks/01_metrics_and_protocols.ipynb.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

__all__ = ["KittiCalibration", "project_velodyne", "read_calibration", "read_velodyne"]


@dataclass(frozen=True)
class KittiCalibration:
    """What a recording day's two files say.

    Attributes:
        velo_to_cam: (4, 4) double, from the LiDAR's frame (x ahead, y left, z up) to camera 0's.
        rectify: (4, 4) double, camera 0's rectifying rotation ``R_rect_00``.
        projections: camera number -> (3, 4) double ``P_rect_0c``.
    """

    velo_to_cam: Tensor
    rectify: Tensor
    projections: dict[int, Tensor]

    def intrinsics(self, camera: int = 2) -> Tensor:
        """The (3, 3) float camera matrix of a rectified camera."""
        return self._projection(camera)[:, :3].float()

    def velo_to_image(self, camera: int = 2) -> Tensor:
        """The (3, 4) double matrix from homogeneous LiDAR points to homogeneous pixels."""
        return self._projection(camera) @ self.rectify @ self.velo_to_cam

    def _projection(self, camera: int) -> Tensor:
        if camera not in self.projections:
            raise ValueError(f"KITTI camera {camera} is not calibrated here: choose one of "
                             f"{sorted(self.projections)} (2 is the left colour camera)")
        return self.projections[camera]


def read_calibration(folder: Path) -> KittiCalibration:
    """Read ``calib_cam_to_cam.txt`` and ``calib_velo_to_cam.txt`` of one day's folder (``raw/2011_09_26``).

    Raises:
        FileNotFoundError: one of them is not there.
        ValueError: one of them lacks a matrix or holds one of another size.
    """
    cameras = _read_rows(Path(folder) / "calib_cam_to_cam.txt")
    lidar = _read_rows(Path(folder) / "calib_velo_to_cam.txt")
    found = [camera for camera in range(4) if f"P_rect_{camera:02d}" in cameras[1]]
    projections = {camera: _matrix(cameras, f"P_rect_{camera:02d}", 3, 4) for camera in found or (2,)}
    velo_to_cam, rectify = torch.eye(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    velo_to_cam[:3, :3], velo_to_cam[:3, 3:] = _matrix(lidar, "R", 3, 3), _matrix(lidar, "T", 3, 1)
    rectify[:3, :3] = _matrix(cameras, "R_rect_00", 3, 3)
    return KittiCalibration(velo_to_cam, rectify, projections)


def read_velodyne(path: Path) -> Tensor:
    """Read one LiDAR sweep as (N, 4) float: x ahead, y left, z up in metres, reflectance in [0, 1].

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, its size is not a multiple of 16 bytes, or it holds NaN or infinity.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: a LiDAR sweep was expected; run "
                                "`python data_scripts/download_kitti.py --lidar`")
    size = path.stat().st_size
    if size == 0 or size % 16:
        raise ValueError(f"{path} has {size} bytes: a LiDAR sweep is a positive multiple of 16 (four 32-bit "
                         "floats a point); fetch the file again")
    points = torch.from_numpy(np.fromfile(path, dtype="<f4").reshape(-1, 4).astype(np.float32))
    if not torch.isfinite(points).all():
        raise ValueError(f"{path} holds NaN or infinite coordinates: a LiDAR sweep has none; fetch "
                         "the file again")
    return points


def project_velodyne(points: Tensor, calibration: KittiCalibration, size: tuple[int, int], camera: int = 2, *,
                     rounding: str = "nearest") -> Tensor:
    """LiDAR points as a sparse depth map; where several fall on a pixel, the nearest return wins.

    Args:
        points: (N, 3) or (N, 4) metres in the LiDAR's frame; those behind the camera are dropped.
        calibration: the day's calibration.
        size: (height, width) of the rectified image.
        camera: 2 is the left colour camera.
        rounding: ``"nearest"`` takes the pixel whose centre is nearest, ``round(u)``; the official
            ``velodyne_raw`` maps agree with it. ``"eigen"`` takes ``round(u) - 1``, one pixel up and to the
            left: the heritage of a Matlab development kit that counts from 1, with which the evaluation of
            Eigen et al. (2014) and its descendants build their ground truth.

    Returns:
        (1, H, W) float, 0 where no return fell.

    Raises:
        ValueError: points of another shape, an unknown camera or rounding.
    """
    if points.ndim != 2 or points.shape[1] not in (3, 4):
        raise ValueError(f"LiDAR points are of shape {tuple(points.shape)}: expected (N, 3) or (N, 4)")
    if rounding not in ("nearest", "eigen"):
        raise ValueError(f"rounding {rounding!r} is unknown: choose nearest, or eigen for round(u) - 1")
    height, width = size
    pixels = torch.cat([points[:, :3].double(), torch.ones(len(points), 1, dtype=torch.float64)], 1)
    pixels = pixels @ calibration.velo_to_image(camera).T
    pixels = pixels[pixels[:, 2] > 0]
    depth = pixels[:, 2]
    place = torch.round(pixels[:, :2] / depth[:, None]) - (1 if rounding == "eigen" else 0)
    inside = ((place >= 0) & (place < torch.tensor([width, height]))).all(1)  # before .long(): u may be huge
    column, row = place[inside].long().unbind(1)
    nearest = torch.full((height * width,), torch.inf, dtype=torch.float64)
    nearest.scatter_reduce_(0, row * width + column, depth[inside], "amin")
    return torch.where(nearest.isinf(), 0.0, nearest).float().view(1, height, width)


def _read_rows(path: Path) -> tuple[Path, dict[str, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: KITTI's calibration of that day was expected; run "
                                "`python data_scripts/download_kitti.py`")
    lines = (line.partition(":") for line in path.read_text(errors="replace").splitlines())
    return path, {key.strip(): values for key, colon, values in lines if colon}


def _matrix(rows: tuple[Path, dict[str, str]], key: str, height: int, width: int) -> Tensor:
    path, values = rows
    try:
        numbers = [float(value) for value in values[key].split()]
    except (KeyError, ValueError):
        numbers = []
    if len(numbers) != height * width:
        raise ValueError(f"{path} gives {len(numbers)} readable numbers for {key}: expected "
                         f"{height * width}; fetch the calibration again")
    return torch.tensor(numbers, dtype=torch.float64).view(height, width)
