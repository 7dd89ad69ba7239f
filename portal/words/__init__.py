"""Facts and forms of words as 232 short tasks in meaningless frames, for pretrained bases."""
