# The float64 kernels for sse2.
include "module.pxi"
