"""The tables behind choices of the flow's solver and the vocoder's context; `python -m bench.choices`."""
