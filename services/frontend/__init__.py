"""The gateway: the one place that sees an utterance whole. Runs without torch and knows no model."""
