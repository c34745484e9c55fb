"""Passes from whatever an exporter wrote to one normal form, and from there to what a runtime or torch likes."""
