# A line search along a direction of descent, for the strong Wolfe conditions (Moré and Thuente, 1994): it ends at a
# step with
#
#     value <= start value + DECREASE * step * start slope   and   |slope| <= CURVATURE * |start slope|,
#
# or where the interval that holds such steps can hardly be narrowed. It knows values and slopes alone: lbfgs.pyx asks
# `began` for the first step and `ended` after each, and computes value and slope between.
#
# `best` is the trial with the least value so far, `other` the other end of the interval once that is `bracketed`. The
# next step is where a cubic or a quadratic through two trials is least, with the paper's safeguards.

from libc.math cimport fabs, fmax, fmin, sqrt

cdef extern from *:
    """
    #define FASTNN_DECREASE 1e-3
    #define FASTNN_CURVATURE 0.9
    #define FASTNN_NARROW 0.1           /* an interval of this share of its upper end is narrow enough */
    #define FASTNN_LARGEST_STEP 1e10
    """
    const double DECREASE "FASTNN_DECREASE"
    const double CURVATURE "FASTNN_CURVATURE"
    const double NARROW "FASTNN_NARROW"
    const double LARGEST_STEP "FASTNN_LARGEST_STEP"


cdef struct Trial:
    double step
    double value
    double slope            # along the direction

cdef struct LineSearch:
    Trial start, best, other
    double step             # the next to be tried
    double lower, upper     # where it has to be
    double width, earlier_width     # of the interval, now and two trials ago
    bint bracketed
    bint first_stage        # until a trial has a low enough value and a slope that is not negative


cdef inline LineSearch began(double value, double slope, double step) noexcept nogil:
    """A search from a point with this value and slope, which tries this step first."""
    cdef LineSearch search
    search.start.step, search.start.value, search.start.slope = 0, value, slope
    search.best = search.other = search.start
    search.step = fmin(step, LARGEST_STEP)
    search.lower, search.upper = 0, 5 * search.step
    search.width, search.earlier_width = LARGEST_STEP, 2 * LARGEST_STEP
    search.bracketed, search.first_stage = False, True
    return search


cdef inline bint ended(LineSearch *search, double value, double slope) noexcept nogil:
    """Whether the search ends at `step`, which has this value and slope; if not, `step` is the next to be tried."""
    cdef double descent = DECREASE * search.start.slope
    cdef double allowed = search.start.value + search.step * descent
    cdef Trial trial
    trial.step, trial.value, trial.slope = search.step, value, slope
    if value <= allowed and fabs(slope) <= -CURVATURE * search.start.slope:
        return True
    if exhausted(search, value <= allowed and slope <= descent):
        return True
    if search.first_stage and value <= allowed and slope >= 0:
        search.first_stage = False
    if search.first_stage and value > allowed and value <= search.best.value:
        # A low value that is not low enough: then the interval is that of value - step * descent.
        tilt(&search.best, -descent)
        tilt(&search.other, -descent)
        tilt(&trial, -descent)
        narrow(search, &trial)
        tilt(&search.best, descent)
        tilt(&search.other, descent)
    else:
        narrow(search, &trial)
    bound(search, trial.step)
    return False


cdef inline bint exhausted(const LineSearch *search, bint falls) noexcept nogil:
    """Whether no other step promises more. `falls`: at `step` the value is low, and falls steeply."""
    if search.bracketed and not search.lower < search.step < search.upper:
        return True
    if search.bracketed and search.upper - search.lower <= NARROW * search.upper:
        return True
    return search.step == 0 or (search.step == LARGEST_STEP and falls)


cdef inline void tilt(Trial *trial, double slope) noexcept nogil:
    """Adds a line of this slope to the function that is searched."""
    trial.value += trial.step * slope
    trial.slope += slope


cdef inline double cubic_share(const Trial *a, const Trial *b) noexcept nogil:
    """Where the cubic with the values and slopes of both is least: which share of the way from a to b. 0 for none."""
    cdef double theta = 3 * (a.value - b.value) / (b.step - a.step) + a.slope + b.slope
    cdef double largest = fmax(fabs(theta), fmax(fabs(a.slope), fabs(b.slope)))
    cdef double square = (theta / largest) * (theta / largest) - (a.slope / largest) * (b.slope / largest)
    cdef double gamma
    if square <= 0:
        return 0
    gamma = largest * sqrt(square)
    if b.step < a.step:
        gamma = -gamma
    return ((gamma - a.slope) + theta) / (((gamma - a.slope) + gamma) + b.slope)


cdef inline double next_step(LineSearch *search, const Trial *trial, bint opposite) noexcept nogil:
    """The step after this trial; `opposite`: its slope and that of the best have opposite signs."""
    cdef const Trial *best = &search.best
    cdef double way = best.step - trial.step, cubic, other, limit
    if trial.value > best.value:            # a minimum lies between them
        cubic = best.step - cubic_share(best, trial) * way
        other = best.step - best.slope / ((trial.value - best.value) / way + best.slope) / 2 * way
        return cubic if fabs(cubic - best.step) < fabs(other - best.step) else cubic + (other - cubic) / 2
    if not opposite and fabs(trial.slope) >= fabs(best.slope):      # it falls ever more steeply
        if search.bracketed:
            return trial.step + cubic_share(trial, &search.other) * (search.other.step - trial.step)
        return search.upper if way < 0 else search.lower
    cubic = cubic_share(trial, best)
    if opposite or cubic < 0:
        cubic = trial.step + cubic * way
    else:                                   # the cubic has no minimum beyond the trial
        cubic = search.upper if way < 0 else search.lower
    other = trial.step + trial.slope / (trial.slope - best.slope) * way
    if opposite:
        return cubic if fabs(cubic - trial.step) > fabs(other - trial.step) else other
    if not search.bracketed:
        cubic = cubic if fabs(cubic - trial.step) > fabs(other - trial.step) else other
        return fmax(search.lower, fmin(search.upper, cubic))
    cubic = cubic if fabs(cubic - trial.step) < fabs(other - trial.step) else other
    limit = trial.step + 0.66 * (search.other.step - trial.step)
    return fmin(limit, cubic) if way < 0 else fmax(limit, cubic)


cdef inline void narrow(LineSearch *search, const Trial *trial) noexcept nogil:
    """Chooses the next step; the trial becomes an end of the interval."""
    cdef bint opposite = (trial.slope < 0) != (search.best.slope < 0) and trial.slope != 0
    cdef bint above = trial.value > search.best.value
    search.step = next_step(search, trial, opposite)
    if above:
        search.other = trial[0]
    else:
        if opposite:
            search.other = search.best
        search.best = trial[0]
    search.bracketed = search.bracketed or above or opposite


cdef inline void bound(LineSearch *search, double tried) noexcept nogil:
    """Holds the next step within bounds; where these are too narrow already, it is the best one once more."""
    cdef double width = fabs(search.other.step - search.best.step)
    if search.bracketed:
        if width >= 0.66 * search.earlier_width:        # interpolation is slow: halve
            search.step = search.best.step + (search.other.step - search.best.step) / 2
        search.earlier_width, search.width = search.width, width
        search.lower = fmin(search.best.step, search.other.step)
        search.upper = fmax(search.best.step, search.other.step)
    else:
        search.lower = search.step + 1.1 * (search.step - search.best.step)
        search.upper = search.step + 4 * (search.step - search.best.step)
    search.step = fmax(0, fmin(LARGEST_STEP, search.step))
    if search.bracketed and (not search.lower < search.step < search.upper
                             or search.upper - search.lower <= NARROW * search.upper):
        search.step = search.best.step
