"""``snnsim listen``: a trained network that hears."""
