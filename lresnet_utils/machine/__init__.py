"""What this machine is and does: facts, load, locks, processes, isolation, files on its disk."""
