"""Cohorts: simulated patients from published facts, and named sites with their hold-outs."""
