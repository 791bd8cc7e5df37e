"""Learn to balance a pole on a cart, by the cross-entropy method: play, keep the best games, imitate them.

The policy is a network of 4-32-2 that is asked for every step of every game, one observation at a time: what a
decision takes decides how fast it learns. The cart and the pole are those of Barto, Sutton and Anderson (1983), with
the constants that OpenAI's Gym gave them; a game ends when the pole leans more than 12 degrees, the cart leaves the
track, or after 500 steps.

Run it: python examples/cartpole.py [--seed 0] [--rounds 60]
"""

import argparse
import math
from time import perf_counter

import numpy as np

import fastnn

GRAVITY, CART, POLE, HALF_LENGTH, FORCE, TICK = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02      # m/s², kg, kg, m, N, s
LONGEST = 500
GAMES, KEPT = 50, 10
SOLVED = 475            # mean steps of a round's games


def moved(state, right):
    """Position and speed of the cart, angle and angular speed of the pole, one tick later."""
    x, speed, angle, turn = state
    sine, cosine = math.sin(angle), math.cos(angle)
    push = ((FORCE if right else -FORCE) + POLE * HALF_LENGTH * turn**2 * sine) / (CART + POLE)
    turning = (GRAVITY * sine - cosine * push) / (HALF_LENGTH * (4 / 3 - POLE * cosine**2 / (CART + POLE)))
    acceleration = push - POLE * HALF_LENGTH * turning * cosine / (CART + POLE)
    return x + TICK * speed, speed + TICK * acceleration, angle + TICK * turn, turn + TICK * turning


def play(policy, rng):
    """One game: the observations, and what was done at each of them."""
    state, observations, actions = tuple(rng.uniform(-0.05, 0.05, 4)), [], []
    chances = rng.random(LONGEST)
    while len(actions) < LONGEST and abs(state[0]) < 2.4 and abs(state[2]) < math.radians(12):
        observation = np.array(state, np.float32)
        right = chances[len(actions)] < policy.predict(observation)[1]
        observations.append(observation)
        actions.append(int(right))
        state = moved(state, right)
    return observations, actions


def main(arguments=None):
    """Play and learn until the pole stays up; return the mean steps of the last round, and microseconds a decision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the games and of the network (default 0)")
    parser.add_argument("--rounds", type=int, default=60, help="rounds to play at most (default 60)")
    options = parser.parse_args(arguments)

    rng = np.random.default_rng(options.seed)
    policy = fastnn.Network([4, 32, 2], activation="tanh", output="softmax", seed=options.seed)
    optimizer = fastnn.Adam(0.005)
    start, decisions = perf_counter(), 0
    for number in range(1, options.rounds + 1):
        games = sorted((play(policy, rng) for _ in range(GAMES)), key=lambda game: len(game[1]), reverse=True)
        steps = [len(actions) for _, actions in games]
        decisions += sum(steps)
        mean = float(np.mean(steps))
        if number % 5 == 0 or mean >= SOLVED:
            print(f"round {number:2d}: the pole stayed up for {mean:5.1f} steps")
        if mean >= SOLVED:
            break
        observations = np.concatenate([observations for observations, _ in games[:KEPT]])
        actions = np.concatenate([actions for _, actions in games[:KEPT]])
        policy.fit(observations, actions, epochs=5, optimizer=optimizer)
    seconds = perf_counter() - start

    observation = np.zeros(4, np.float32)
    begin = perf_counter()
    for _ in range(10_000):
        policy.predict(observation)
    microseconds = (perf_counter() - begin) * 100
    print(f"{decisions:,} decisions and {number} rounds of learning in {seconds:.1f} s; "
          f"the network takes {microseconds:.2f} µs of each")
    return mean, microseconds


if __name__ == "__main__":
    main()
