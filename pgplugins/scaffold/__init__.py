"""``pgplugins new``: a plugin package to start from.

The files under ``template`` are what is written, with ``$names`` filled in.
"""
