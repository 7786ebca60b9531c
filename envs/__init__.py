"""Decision problems and their data: pure ``reset`` and ``step``. Knows nothing of learning."""
