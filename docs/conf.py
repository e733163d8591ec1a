"""How Sphinx builds these pages."""

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
# Only what is in this repository is documented here.
os.environ["PGPLUGINS_DISABLE_AUTOLOAD"] = "1"
# Examples run on all cores, one on each, while figures are measured here.
os.environ.setdefault("OMP_NUM_THREADS", "1")

project = "pgplugins"
author = project_copyright = "The pgplugins authors"
version = release = installed_version("pgplugins")

extensions = [
    "command_help",
    "decision_table",
    "estimator_table",
    "example_output",
    "mathml",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "variance_curve",
    "which_figure",
]
exclude_patterns = ["_build", "generated"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_math_renderer = "mathml"
html_title = f"pgplugins {release}"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
# "Shape ``batch``: the costs" in Returns is no type.
napoleon_use_rtype = False
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
