"""Generators of tabular rows, trained under differential privacy."""
