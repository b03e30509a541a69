"""Drawing and words: everything here shows numbers that other modules computed."""
