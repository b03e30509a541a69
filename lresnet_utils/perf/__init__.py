"""Speed: timing sessions fairly, the statistics of it, the machine, and other tools' logs."""
