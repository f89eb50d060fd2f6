"""The GPT stage: text tokens to semantic codes and latents."""
