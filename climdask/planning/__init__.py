"""What will be done, as frozen data; pure."""
