"""How members are trained where the user does not say: by the size of the table, by what the target holds, and by
whether there are several members.

The values were chosen on nineteen development tables of 395 to 30,000 rows, none of which is among those that
docs/performance.md reports. Small tables need many small steps; large ones have enough of them in few epochs.
"""

from __future__ import annotations

from .members import Settings

# Up to so many rows: (rows a step, epochs).
SIZES = ((2_500, 16, 100), (10_000, 32, 40), (40_000, 64, 30), (float("inf"), 128, 20))


def settings_for(rows: int, members: int, classes: bool) -> Settings:
    """Those for a table of so many rows that train, whose target holds classes, or numbers.

    Numbers mostly change smoothly: they have a smooth activation, larger steps, and a quarter more epochs. A member
    stops when a fifth of its epochs brought nothing. Several members average each other; a single one has more epochs,
    and a longer running mean. Labels of classes are smoothed: a twentieth of each is divided among all classes.
    """
    batch_size, epochs = next((batch, epochs) for most, batch, epochs in SIZES if rows <= most)
    epochs, memory = (epochs, 0.5) if members > 1 else (epochs * 3 // 2, 0.85)
    activation, learning_rate = ("relu", 2e-3) if classes else ("gelu", 4e-3)
    epochs = epochs if classes else epochs * 5 // 4
    return Settings(hidden=(128, 128), activation=activation, epochs=epochs, patience=epochs // 5,
                    batch_size=batch_size, learning_rate=learning_rate, weight_decay=0.01, memory=memory,
                    smoothing=0.05 if classes else 0.0)
