"""Which backend answers a request, what happens when it does not, and how long that may take."""
