"""The schema's history: one revision, one SQL file."""
