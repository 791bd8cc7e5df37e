"""Fits the polynomials of the elementary functions and prints them as C: src/fastnn/kernels/tables.h.

    python tools/fit_polynomials.py > tables.h.new

A table is a polynomial N(x), or a pair of them for a quotient N(x)/D(x), fitted to a smooth
function f by weighted least squares over Chebyshev nodes, which is within a small factor of
the minimax error. Coefficients are rounded to the type one at a time from the lowest degree
up, and the others are fitted again to what the rounded ones leave over: so the rounding of a
low coefficient is absorbed by the higher ones. Needs mpmath (extra `tools`).
"""

from mpmath import (
    atanh,
    cos,
    erfc,
    exp,
    expm1,
    frexp,
    ldexp,
    linspace,
    log,
    lu_solve,
    matrix,
    mp,
    mpf,
    nint,
    pi,
    polyval,
    sqrt,
)

mp.dps = 80


def round_to(x, bits):
    """x rounded to a binary floating-point number with that many mantissa bits."""
    exponent = frexp(x)[1]
    return ldexp(nint(ldexp(x, bits - exponent)), exponent - bits)


def hexadecimal(x, suffix):
    """x as a C hex-float literal (float(x) is exact: x has at most 53 bits)."""
    mantissa, _, exponent = float(x).hex().partition("p")
    return mantissa.rstrip("0").rstrip(".") + "p" + exponent + suffix


def value(c, x):
    return polyval(c[::-1], x)


def fit(f, weight, nodes, degrees, bits, start):
    """Rounded (N, D), lowest degree first, of f ~ N/D at the nodes.

    weight(x) * (N/D - f) is the error to be kept small; degrees is that of N and of D; start holds the
    fixed first coefficients of N and D.
    """
    table = [list(c) for c in start]
    unknown = sorted(((k, side) for side in (0, 1)
                      for k in range(len(table[side]), degrees[side] + 1)),
                     key=lambda item: (item[0], -item[1]))
    points = [(x, f(x), weight(x)) for x in nodes]
    scale = [mpf(1)] * len(nodes)

    def solve():
        """Linear least squares of weight * (N - f*D) / (D of the last solution)."""
        rows, rest = [], []
        for (x, y, w), d in zip(points, scale, strict=True):
            rows.append([w / d * x**k * (-y if side else 1) for k, side in unknown])
            rest.append(w / d * (y * value(table[1], x) - value(table[0] or [0], x)))
        solution = lu_solve(matrix(rows), matrix(rest))
        for i, (x, _, _) in enumerate(points):
            scale[i] = value(table[1], x) + sum(
                c * x**k for (k, side), c in zip(unknown, solution, strict=True) if side)
        return solution

    if degrees[1]:
        for _ in range(3):      # lets `scale` settle
            solve()
    while unknown:
        table[unknown[0][1]].append(round_to(solve()[0], bits))
        unknown.pop(0)
    return table


def chebyshev(low, high, count):
    return [(low + high + (high - low) * cos(pi * (2 * j + 1) / (2 * count))) / 2
            for j in range(count)]


def exp_q(r):
    """exp(r) = 1 + r + r*r*Q(r)."""
    return (expm1(r) - r) / r**2 if abs(r) > 1e-30 else mpf(1) / 2


def log1p_l(w):
    """2*atanh(s/2) = s + s*w*L(w), w = s*s."""
    h = sqrt(w) / 2
    return (atanh(h) / h - 1) / w if w > 1e-30 else mpf(1) / 12


def normal_ratio(a):
    """Phi(-a) = exp(-a*a/2) * R(a), where Phi is the normal distribution."""
    return exp(a * a / 2) * erfc(a / sqrt(mpf(2))) / 2


HALF_LN2 = log(2) / 2 * mpf("1.0001")
HALF = mpf(1) / 2
PRECISIONS = (
    # float64 comes first, as in the header; degrees of Q, of L, of gelu's P and Q; and where gelu becomes 0
    ("#ifdef FASTNN_F64", "", 53, 9, 9, (9, 10), mpf("37.66")),
    ("#else", "f", 24, 4, 3, (4, 5), mpf("13.28")),
)


def main():
    print("/* Coefficients, lowest degree first. Printed by tools/fit_polynomials.py: change that, not this. */\n")
    for condition, suffix, bits, exp_degree, log1p_degree, gelu_degrees, gelu_zero in PRECISIONS:
        root = round_to(sqrt(2 * pi), bits)
        # The quotient decreases over a long range: nodes that are even in a/(a+5).
        gelu_nodes = [5 * v / (1 - v) for v in chebyshev(0, gelu_zero / (gelu_zero + 5), 50)]
        tables = (
            # exp(r) - 1 must be as exact as exp(r): tanh, elu and selu of small numbers are made of it. No node is 0.
            (["EXP_Q"], exp_q, lambda r: r * r / abs(expm1(r)), chebyshev(-HALF_LN2, HALF_LN2, 26),
             (exp_degree, 0), ([HALF], [1])),
            (["LOG1P_L"], log1p_l, lambda w: w + mpf(2) ** -20, chebyshev(0, mpf(4) / 9, 25),
             (log1p_degree, 0), ([], [1])),
            # 1/R(a) = sqrt(2 pi) a + P(a)/Q(a)
            (["GELU_P", "GELU_Q"], lambda a, root=root: 1 / normal_ratio(a) - root * a, normal_ratio, gelu_nodes,
             gelu_degrees, ([2], [1])),
        )
        print(condition)
        for names, f, weight, nodes, degrees, start in tables:
            table = fit(f, weight, nodes, degrees, bits, start)
            worst = max(
                weight(x) * abs(value(table[0], x) / value(table[1], x) - f(x))
                for x in linspace(min(nodes), max(nodes), 500) + nodes
            )
            print(f"/* relative error of the function: 2^{float(log(worst, 2)):.1f} */")
            for name, c in zip(names, table, strict=False):
                c = c[1:] if "GELU" in name else c     # the formula has 2 and 1
                print(f"static const fastnn_real FASTNN_{name}[] = {{")
                print(",\n".join("    " + hexadecimal(x, suffix) for x in c) + "};")
    print("#endif")


if __name__ == "__main__":
    main()
