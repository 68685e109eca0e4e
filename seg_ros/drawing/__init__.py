"""Pictures of labels, segments and differences."""
