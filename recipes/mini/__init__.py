"""How the embedded mini voice was made: one command per step, `python -m recipes.mini` for all."""
