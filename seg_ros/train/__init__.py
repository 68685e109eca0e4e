"""Training: recipes, augmentation, losses, and a loop that resumes where it was killed."""
