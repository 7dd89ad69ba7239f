"""How the embedded bases are made from nothing but text: tokenizer, config, optimisers, loop."""
