"""Makes `vocoder.onnx` from a BigVGAN checkpoint; needs torch, which the worker does not have."""
