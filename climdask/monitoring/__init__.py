"""How far a run is: counts, pace, status, and who shows them."""
