"""Pictures of labels and segments."""
