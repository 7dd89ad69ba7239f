"""Facts and forms of words as tasks for pretrained bases: 232 with choices, six with written answers."""
