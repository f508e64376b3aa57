"""Questions to all hospitals' tables, as a person types them, answered by secure sums.

`language` reads a question; `planning` gives it the bounds, edges and levels of the dictionary, never of the rows;
`rows` turns a site's table into what `secagg.questions` fills vectors from; `answering` asks; `figures` says what the
sums mean, with 95 % intervals where there was noise, and without small counts.
"""
