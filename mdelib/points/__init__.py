"""Points in an image whose depth is known or trusted: where they are, how they are chosen, and where that is in space.

huynh2021 trains with guiding points (measured depth at SIFT keypoints) and predicts with salient points (predicted
depth where the network trusts itself). Explained in notebooks/09_fusanet.ipynb.
"""

from __future__ import annotations

from mdelib.points.camera import KINECT_FOCAL, camera_or_default, default_intrinsics
from mdelib.points.keypoints import Keypoints, guiding_points, sift_points
from mdelib.points.selection import random_points, salient_points, suppress_neighbours
from mdelib.points.sparse_points import SparsePoints

__all__ = ["KINECT_FOCAL", "Keypoints", "SparsePoints", "camera_or_default", "default_intrinsics", "guiding_points",
           "random_points", "salient_points", "sift_points", "suppress_neighbours"]
