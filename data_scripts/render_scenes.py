"""Renders the course's scenes ahead of their first use, or a contact sheet of them.

python data_scripts/render_scenes.py --name scenes-rooms --size 96x128 [--count N] [--out DIR] [--sheet FILE.png]
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from mdelib.data.base import DepthData
from mdelib.data.scenes import load_scenes


def contact_sheet(data: DepthData, columns: int = 6, limit: int = 36) -> Image.Image:
    """The first pictures of a split, side by side."""
    views = [data[index] for index in range(min(limit, len(data)))]
    height, width = views[0].image.shape[-2:]
    sheet = Image.new("RGB", (width * min(columns, len(views)), height * -(-len(views) // columns)))
    for index, view in enumerate(views):
        pixels = view.image.mul(255).round().byte().permute(1, 2, 0).numpy()
        sheet.paste(Image.fromarray(pixels), (index % columns * width, index // columns * height))
    return sheet


def main(
    name: Annotated[str, typer.Option(help="scenes-rooms or scenes-streets")] = "scenes-rooms",
    split: Annotated[str, typer.Option(help="train, test, or all")] = "all",
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH in pixels")] = "96x128",
    count: Annotated[int | None, typer.Option(help="at most so many views of each split")] = None,
    out: Annotated[Path | None, typer.Option(help="data folder; MDE_DATA or data/ by default")] = None,
    sheet: Annotated[Path | None, typer.Option(help="also write a contact sheet to this PNG")] = None,
) -> None:
    """Render scenes into the data folder."""
    height, _, width = size.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise typer.BadParameter(f"size is {size!r}: expected HEIGHTxWIDTH, for example 96x128")
    root = out if out is not None else Path(os.environ.get("MDE_DATA") or "data")
    for part in ("train", "test") if split == "all" else (split,):
        start = time.perf_counter()
        try:
            data = load_scenes(name, part, root=root, size=(int(height), int(width)), count=count)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        print(
            f"{name} {part}: {len(data)} views in {time.perf_counter() - start:.1f} s, fingerprint {data.fingerprint}"
        )
        if sheet is not None:
            target = sheet if split != "all" else sheet.with_stem(f"{sheet.stem}-{part}")
            contact_sheet(data).save(target)
            print(f"contact sheet: {target}")


if __name__ == "__main__":
    typer.run(main)
