"""Images and pairs: readers, the packaged demo set, alignment, and the image store."""
