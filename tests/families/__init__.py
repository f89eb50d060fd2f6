"""Two model families that are nothing like IndexTTS2, served by the workers' own code.

`chime` is one stage: characters in, samples out of an ONNX graph, in voices of its own. `duet` is two: characters to
codes of two codebooks, codes to samples, in the voice of a recording with its transcript.
"""
