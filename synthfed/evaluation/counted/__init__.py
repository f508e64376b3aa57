"""Scores of a synthetic table from noisy counts of held-out patients, whose rows never come together.

`plan` says what is counted, from public things alone; `count` is all that a site does with its rows; `score` turns the
noisy sum over the sites into metrics, and `anchors` says what perfect data would get under the same noise. Everything
but `count` is post-processing: it costs nothing and may be done again.
"""
