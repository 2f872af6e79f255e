"""Prepare NYU-Depth-v2 from its official files: python data_scripts/prepare_nyu.py labeled.mat splits.mat"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdelib.data import data_root
from mdelib.data.nyu_official import prepare_nyu


def main(
    mat: Annotated[Path | None, typer.Argument(help="nyu_depth_v2_labeled.mat; as downloaded")] = None,
    splits: Annotated[Path | None, typer.Argument(help="splits.mat; default: as downloaded")] = None,
    out: Annotated[Path | None, typer.Option(help="data folder; default: MDE_DATA, else data")] = None,
    depth: Annotated[str, typer.Option(help="filled (in-painted) or raw (with holes)")] = "filled",
    lossless: Annotated[bool, typer.Option(help="png instead of jpg images")] = False,
) -> None:
    """Write rgb/, depth/ and splits.json; an interrupted run goes on where it stopped."""
    root = data_root(out)
    downloads = root / "downloads" / "nyu"
    try:
        count = prepare_nyu(mat or downloads / "nyu_depth_v2_labeled.mat", splits or downloads / "splits.mat",
                            root / "nyu", depth=depth, lossless=lossless)
    except (ValueError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"NYU is ready in {root / 'nyu'}: {count['written']} views written, {count['kept']} kept.")


if __name__ == "__main__":
    typer.run(main)
