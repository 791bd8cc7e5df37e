# The float64 kernels for avx512.
include "module.pxi"
