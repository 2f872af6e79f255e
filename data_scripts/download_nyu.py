"""Fetch NYU-Depth-v2 (labelled, 3.0 GB), check it and prepare it: python data_scripts/download_nyu.py"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdelib.data import data_root
from mdelib.data.fetch import fetch_nyu


def main(
    out: Annotated[Path | None, typer.Option(help="data folder; default: MDE_DATA, else data")] = None,
    mat: Annotated[Path | None, typer.Option(help="nyu_depth_v2_labeled.mat, if you have it")] = None,
    depth: Annotated[str, typer.Option(help="filled (in-painted) or raw (with holes)")] = "filled",
    lossless: Annotated[bool, typer.Option(help="png instead of jpg images")] = False,
) -> None:
    """Fetch NYU-Depth-v2, check it and prepare it for the course."""
    try:
        fetch_nyu(data_root(out), labelled=mat, depth=depth, lossless=lossless)
    except (ValueError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
