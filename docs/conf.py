"""Build of the manual: `make docs`. Reference pages are written from the code before Sphinx reads anything."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from pages import write_reference  # noqa: E402  # after the path is set
from sphinx.application import Sphinx  # noqa: E402  # after the path is set

import skydb  # noqa: E402  # after the path is set

project = "skydb"
copyright = "2026, the skydb developers"
release = skydb.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"skydb {release}"

write_reference(HERE / "reference" / "generated")


def drop_empty_sections(app: Sphinx, docname: str, source: list[str]) -> None:
    """Take patterns that match no page yet out of the contents: Sphinx would warn, and warnings are errors."""
    if docname == app.config.root_doc:
        lines = source[0].split("\n")
        source[0] = "\n".join(x for x in lines if not x.endswith("/*") or any(HERE.glob(f"{x}.md")))


def setup(app: Sphinx) -> None:
    """Register what the build does beside Sphinx's own."""
    app.connect("source-read", drop_empty_sections)
