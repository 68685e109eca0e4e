"""Checked construction of typed objects from JSON and YAML."""
