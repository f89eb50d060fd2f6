"""Fetches the published IndexTTS-2 checkpoint and what it needs; see `__main__`."""
