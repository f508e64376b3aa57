"""Scores of a synthetic table, each beside what perfect and worthless data would get."""
