"""mdelib: the small library under a course on explainable monocular depth estimation."""

__version__ = "0.9.0"
