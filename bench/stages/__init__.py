"""Each stage alone, at full size: `python -m bench.stages` on the CPU, `bench.stages.gpu` on CUDA."""
