"""The model's life in figures: drift, feedback, retraining, swap: `python -m benchmarks.life`."""
