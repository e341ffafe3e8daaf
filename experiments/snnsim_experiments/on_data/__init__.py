"""``snnsim train DATA``, ``evaluate`` and ``data``: data by name or by place."""
