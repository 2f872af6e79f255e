"""Anybody's own pictures: a folder of images, with or without depth maps.

Images lie in the folder itself or in its ``rgb`` folder; the depth of ``a.jpg`` is ``depth/a.png`` (16 bits,
millimetres unless said otherwise) or ``depth/a.npy`` (metres).
Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

from pathlib import Path

from mdelib.data.base import DataInfo, DepthData, View, hold_out
from mdelib.data.files import IMAGE_SUFFIXES, make_view, read_depth_npy, read_depth_png, read_image, signature

__all__ = ["INFO", "describe_folder", "load_folder"]

INFO = DataInfo("folder", "own images", min_depth=1e-3, max_depth=80.0)


def load_folder(path: Path | str, split: str = "test", *, depth_scale: float = 1000.0) -> DepthData:
    """The images in a folder, in the order of their names; they may differ in size.

    Args:
        path: the folder.
        split: ``"train"`` and ``"test"`` are both all the images; ``"fit"`` and ``"val"`` part them 9 to 1.
        depth_scale: the stored value of one metre in a depth png (1000 for millimetres).

    Raises:
        FileNotFoundError: the folder is not there.
        ValueError: no image in it, two images of one name, depth of an unknown kind or without its image; and
            later, on reading, a damaged file or depth of another size than its image.
    """
    folder = Path(path)
    if split not in ("train", "test", "fit", "val"):
        raise ValueError(f"a folder of images has no split {split!r}: choose train, test, fit or val")
    if not depth_scale > 0:
        raise ValueError(f"depth_scale is {depth_scale}: expected the positive stored value of one metre, "
                         "1000 for millimetres")
    images, depths = _find(folder)
    if not images:
        raise ValueError(f"{folder} holds no image: expected {', '.join(IMAGE_SUFFIXES)} files in it or in "
                         "its rgb folder")
    names = list(images)
    if split in ("fit", "val"):
        parts = hold_out(names)
        names = [names[i] for i in parts[split == "val"]]

    def read(name: str) -> View:
        source = depths.get(name)
        depth = None
        if source is not None:
            depth = read_depth_npy(source) if source.suffix == ".npy" else read_depth_png(source, depth_scale)
        return make_view(name, read_image(images[name]), depth, source=source or images[name])

    files = [held[name] for held in (images, depths) for name in names if name in held]
    return DepthData(INFO, split, names, read, signature(folder, files, depth_scale), threads=4)


def describe_folder(folder: Path) -> str:
    """One sentence on what the folder holds, for a person."""
    try:
        images, depths = _find(folder)
    except (FileNotFoundError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        return f"not found in {folder}" if missing else f"cannot be used: {error}"
    return f"{len(images)} images, {len(depths)} of them with depth" if images else f"no images in {folder}"


def _find(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Image and depth file by name."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: expected one with images in it")
    home = folder / "rgb" if (folder / "rgb").is_dir() else folder
    images: dict[str, Path] = {}
    for path in sorted(home.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            if path.stem in images:
                raise ValueError(f"{home} holds {images[path.stem].name} and {path.name}: two images of one "
                                 "name cannot be told apart; rename one")
            images[path.stem] = path
    depths: dict[str, Path] = {}
    inside = sorted((folder / "depth").iterdir()) if (folder / "depth").is_dir() else []
    for path in inside:
        if path.name.startswith(".") or path.is_dir():
            continue
        if path.suffix not in (".png", ".npy"):
            raise ValueError(f"{path} is a depth map of a kind that is not read: expected .png (16 bits) or "
                             ".npy (metres); convert it")
        if path.stem in depths:
            raise ValueError(f"{path.parent} holds {depths[path.stem].name} and {path.name}: one depth map "
                             "a view is expected; remove one")
        if path.stem not in images:
            raise ValueError(f"{path} has no image beside it: expected {home / path.stem}.jpg or another "
                             "image of that name; rename one of them")
        depths[path.stem] = path
    return images, depths
