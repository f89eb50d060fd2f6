"""How a running system serves: first audio, playback without gaps, throughput, memory; `python -m bench.load`."""
