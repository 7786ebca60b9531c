"""Economics shared by the economies: tax brackets, utilities, welfare, skills, the Saez baseline.

Use the modules by name: ``brackets.tax_due``, ``welfare.gini``, ``saez.next_rates``.
"""

from ai_econ_jax.envs.economy import brackets, saez, skills, utility, welfare

__all__ = ["brackets", "saez", "skills", "utility", "welfare"]
