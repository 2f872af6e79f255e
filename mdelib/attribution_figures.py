"""Figures of notebooks 13 and 14: attribution maps beside their images, curves, rankings."""

from __future__ import annotations
