"""Exchange formats: what a synthetic table can be written as, and what a hospital's own export can be read from.

`registry` lists the formats that are written; `folder` puts one on disk, whole or not at all.
"""
