"""The workers as the gateway sees them: links, pipelines, slots."""
