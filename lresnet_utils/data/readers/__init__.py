"""One reader for each kind of set: `.bin`, CSV, a folder of people, LFW's folder, ORL."""
