"""Fine-tuning: what a job is, the trainer in its own process, and DSPy's provider."""
