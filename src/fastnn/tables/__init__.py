"""Tables as people have them, in files: how they are read."""
