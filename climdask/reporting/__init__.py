"""Pictures of what was made: the report, plots, and what they show."""
