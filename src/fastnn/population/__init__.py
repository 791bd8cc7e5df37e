"""Many networks of one shape, trained and asked in one call: `fastnn.Population`.

model.py is the face. given.py checks what users pass; members.py divides members into groups that go through the layers
together; fit.py trains; stopping.py, divergence.py and history.py are what a fit does for each member; file.py saves.
"""
