"""Task latents from descriptions: a frozen sentence encoder, and the map from its embeddings to latents."""
