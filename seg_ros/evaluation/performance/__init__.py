"""Speed of a model, measured as ratios: contestants take turns in one run, each in a process of its own."""
