"""Tables as people have them: how files are read, what columns hold, how they become numbers for a network."""
