"""HTML pages and pictures that show what was measured."""
