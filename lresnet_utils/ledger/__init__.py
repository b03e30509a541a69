"""What of a run is there already, whole, and made from what it would be made from now.

``code`` hashes the modules that something depends on, ``hashes`` files; ``entries`` is the one
ledger, which says of whatever was made whether it is valid, or why not; ``custody`` is what of it
is published with the report.

All of it is sealed (:mod:`lresnet_utils.ledger.hashes`): what this user's processes did not write,
or somebody changed since, is as if it were not there.
"""

FRESH = "LRESNET_FRESH"
"""Environment variable that makes every stage compute anew; its value names the run that does."""
