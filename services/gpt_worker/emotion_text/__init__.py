"""Emotion by text: the published classifier turns a description into eight weights (specification §6.3).

`answer` reads what the classifier wrote; `classifier` runs it.
"""
