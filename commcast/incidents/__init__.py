"""Incident files: YAML with places, its shape, updates carried forward, presets, and the editor of verbs."""
