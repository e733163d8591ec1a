"""``python -m pgplugins``."""

from pgplugins.cli import main

main(prog_name="pgplugins")
