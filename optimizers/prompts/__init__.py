"""DSPy's prompt optimizers on the teacher's stages."""
