# The float64 kernels for neon.
include "module.pxi"
