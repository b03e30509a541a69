"""Words in two languages, and numbers as text."""
