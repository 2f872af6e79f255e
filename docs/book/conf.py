"""How Sphinx builds the course as a book. Built by `make book`; the sources are put together by mdelib.book."""

import re
from itertools import groupby

import mdelib

MARKS = re.compile(r"(?<!\\)\||(?<![\w*\\])\*(?=\w)(?![^*]*\*)")  # a bar, and a star that opens and never closes

project = "Explainable monocular depth estimation"
author = "the authors of the course"
copyright = "the authors, MIT licence"
version = release = mdelib.__version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx.ext.mathjax",
              "sphinx-mathjax-offline", "sphinx_design", "sphinx_exercise"]
exclude_patterns = ["results/**"]
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_theme_options = {"show_toc_level": 2, "use_download_button": False, "use_fullscreen_button": False,
                      "home_page_in_toc": True}
html_show_sourcelink = False

nb_execution_mode = "off"  # the notebooks come with their outputs
nb_merge_streams = True
nb_render_markdown_format = "myst"
nb_ipywidgets_js = {}  # a widget has a static twin; nothing is loaded from elsewhere
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
default_role = "code"
napoleon_google_docstring = True
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_typehints = "description"
autodoc_typehints_format = "short"


def plain_docstring(app, what, name, obj, options, lines):
    """Docstrings here are plain text: a bar is a bar, and a table is shown as it was typed."""
    out = []
    for table, group in groupby(lines, key=lambda line: line.lstrip().startswith("|")):
        rows = list(group)
        out += ["::", "", *(f"    {row}" for row in rows), ""] if table and len(rows) > 1 else \
            [MARKS.sub(lambda mark: "\\" + mark[0], row) for row in rows]
    lines[:] = out


def setup(app):
    app.connect("autodoc-process-docstring", plain_docstring)
