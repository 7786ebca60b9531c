"""Diffusion models as decision problems: over the initial noise, or over every step."""
