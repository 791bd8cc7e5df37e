# The float64 kernels for avx2.
include "module.pxi"
