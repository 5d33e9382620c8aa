"""Where workers come from: this machine, or the jobs of a batch system."""
