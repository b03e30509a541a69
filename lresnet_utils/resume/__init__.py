"""What of a run is there already, whole, and made from what it would be made from now.

``code`` hashes the modules that something depends on, ``hashes`` files, ``parts`` keeps what a
stage made for one target, and ``jobs`` tells for each notebook why it must run, if it must.
"""
