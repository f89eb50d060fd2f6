"""What each stage computes and moves, and what devices could make of it at best: `python -m bench.roofline`."""
