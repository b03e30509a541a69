"""What of a run is there already, whole, and made from what it would be made from now.

``code`` hashes the modules that something depends on, ``hashes`` files, and ``keep`` holds what a
stage made for one target; :mod:`lresnet_utils.running.resume` tells for each notebook why it must
run, if it must.

All of it is sealed (:mod:`lresnet_utils.ledger.hashes`): what this user's processes did not write,
or somebody changed since, is as if it were not there.
"""

FRESH = "LRESNET_FRESH"
"""Environment variable that makes every stage compute anew; its value names the run that does."""
