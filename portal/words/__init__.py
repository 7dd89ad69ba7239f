"""Facts of the world and of language as short tasks with meaningless wordings, for pretrained bases."""
