"""The output folder: what is in it, and who may write there."""
