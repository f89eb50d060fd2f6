"""The vocoder as ONNX Runtime runs it: mel in, waveform out. Imports no torch."""
