"""The two YAML files: the workflow and the cluster profile."""
