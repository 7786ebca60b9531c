"""Training the small diffusion models that FIND leaves frozen."""
