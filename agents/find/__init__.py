"""FIND: the initial noise of a frozen diffusion model as a policy; and what it is compared with."""
