"""Learners that share bases, stepped together, by one worker or a group."""
