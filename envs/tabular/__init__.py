"""Tabular decision problems with exact answers: arrays, dynamic programming, a suite, files."""
