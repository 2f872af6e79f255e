"""Fetch KITTI drives, calibration, depth and Eigen's lists: python data_scripts/download_kitti.py"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdelib.data import data_root
from mdelib.data.fetch import fetch_kitti


def main(
    out: Annotated[Path | None, typer.Option(help="data folder; default: MDE_DATA, else data")] = None,
    drives: Annotated[str, typer.Option(help="eigen-test, eigen, or names such as 2011_09_26_drive_0001, "
                                             "separated by commas")] = "eigen-test",
    lidar: Annotated[bool, typer.Option(help="unpack the LiDAR sweeps too")] = False,
) -> None:
    """Fetch KITTI in its official layout (terms: https://www.cvlibs.net/datasets/kitti, CC BY-NC-SA 3.0)."""
    chosen = [name.strip() for name in drives.split(",") if name.strip()]
    try:
        fetch_kitti(data_root(out), drives=chosen[0] if len(chosen) == 1 else chosen, lidar=lidar)
    except (ValueError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
