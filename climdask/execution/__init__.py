"""A chain's tasks, and who runs them."""
