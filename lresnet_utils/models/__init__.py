"""Network definitions with their published parameter names, and safe loading of weights."""
