"""Scores that other groups publish for their synthetic cohorts, by their formulas: to compare with, never to decide by.

Each is printed beside what fresh patients and shuffled columns reach on it here, because a published number of another
cohort, size or split says little alone. A formula that was not published is not guessed: what we print instead carries
a name of its own.
"""
